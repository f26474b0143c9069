//! Who can mend an error: decides the exit code of the program.

/// Who can mend an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCause {
    /// The user asked for something that cannot be (exit code 2).
    User,
    /// Disk, permissions, another program (exit code 3).
    Environment,
    /// A rule of Weir's own code was broken (exit code 101).
    Defect,
}

impl ErrorCause {
    /// The cause of an error that is the user's mistake or else the environment's.
    pub const fn mistake_if(is_mistake: bool) -> Self {
        if is_mistake { Self::User } else { Self::Environment }
    }
}

/// An error that knows who can mend it.
pub trait Attributed {
    fn fault(&self) -> ErrorCause;
}
