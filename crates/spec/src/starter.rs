//! Texts that Weir writes or runs itself.

/// As `weir spec new` writes it.
pub const fn starter() -> &'static str {
    include_str!("starter/starter.yaml")
}

/// Runs with `weir run` without a file.
pub const fn builtin() -> &'static str {
    include_str!("starter/builtin.yaml")
}
