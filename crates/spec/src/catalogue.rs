//! Catalogues of models, accelerators, links and arm presets: facts with their sources, by name.

pub mod accelerators;
pub mod hugging_face;
pub mod links;
pub mod models;
pub mod presets;
pub mod profile_file;
