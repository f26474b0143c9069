//! Texts that Weir writes or runs itself.

/// A commented experiment, as `weir spec new` writes it.
pub const fn starter() -> &'static str {
    include_str!("starter/starter.yaml")
}

/// The small experiment that `weir run` runs without a file.
pub const fn builtin() -> &'static str {
    include_str!("starter/builtin.yaml")
}
