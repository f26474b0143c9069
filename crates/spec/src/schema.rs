//! The JSON schema of the experiment file, for editors.

use serde_json::Value;

use crate::document::Spec;

/// JSON Schema 2020-12.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Spec);
    schema.insert("title".to_owned(), "Weir experiment".into());
    schema.to_value()
}
