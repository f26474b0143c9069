//! Scalars of a body, read as leniently as vLLM reads them (`"3"`, `3.0` and `true` are integers).

use serde_json::Value;

use super::error::{ApiError, Fault};

pub(super) type Field = Option<Value>;

fn fault(kind: &'static str, name: &str, message: &str, value: &Value) -> ApiError {
    ApiError::invalid(&[Fault::new(kind, format!("body.{name}"), message, value)])
}

/// An integer; those beyond 64 bits come as the nearest that fits.
pub(super) fn integer(name: &str, field: &Field) -> Result<Option<i64>, ApiError> {
    let Some(value) = field else { return Ok(None) };
    let number = match value {
        Value::Bool(flag) => return Ok(Some(i64::from(*flag))),
        Value::String(text) => {
            let trimmed = text.trim().parse::<i64>();
            return trimmed.map(Some).map_err(|_| {
                let message =
                    "Input should be a valid integer, unable to parse string as an integer";
                fault("int_parsing", name, message, value)
            });
        }
        Value::Number(number) => number,
        _ => return Err(fault("int_type", name, "Input should be a valid integer", value)),
    };
    if let Some(integer) = number.as_i64() {
        return Ok(Some(integer));
    }
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 => Ok(Some(float as i64)),
        _ => {
            let message = "Input should be a valid integer, got a number with a fractional part";
            Err(fault("int_from_float", name, message, value))
        }
    }
}

pub(super) fn float(name: &str, field: &Field) -> Result<Option<f64>, ApiError> {
    let Some(value) = field else { return Ok(None) };
    let number = match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if number.is_finite() => Ok(Some(number)),
        Some(_) => Err(fault("finite_number", name, "Input should be a finite number", value)),
        None => Err(fault("float_type", name, "Input should be a valid number", value)),
    }
}

pub(super) fn boolean(name: &str, field: &Field) -> Result<bool, ApiError> {
    let Some(value) = field else { return Ok(false) };
    let flag = match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
            "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    };
    flag.ok_or_else(|| {
        let message = "Input should be a valid boolean, unable to interpret input";
        fault("bool_parsing", name, message, value)
    })
}

pub(super) fn text<'a>(name: &str, field: &'a Field) -> Result<Option<&'a str>, ApiError> {
    match field {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => Err(fault("string_type", name, "Input should be a valid string", value)),
    }
}

/// An object, given only to be looked at or set aside.
pub(super) fn object<'a>(
    name: &str,
    field: &'a Field,
) -> Result<Option<&'a serde_json::Map<String, Value>>, ApiError> {
    match field {
        None => Ok(None),
        Some(Value::Object(entries)) => Ok(Some(entries)),
        Some(value) => Err(fault("dict_type", name, "Input should be a valid dictionary", value)),
    }
}

pub(super) fn list<'a>(name: &str, field: &'a Field) -> Result<Option<&'a [Value]>, ApiError> {
    match field {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(value) => Err(fault("list_type", name, "Input should be a valid list", value)),
    }
}

/// A field that must be there.
pub(super) fn missing(name: &str) -> ApiError {
    ApiError::invalid(&[Fault {
        kind: "missing",
        place: format!("body.{name}"),
        message: "Field required".to_owned(),
        input: "<dict>".to_owned(),
    }])
}

/// A number below zero where none may be.
pub(super) fn negative(name: &str, value: &Value) -> ApiError {
    fault("greater_than_equal", name, "Input should be greater than or equal to 0", value)
}
