//! The load of a level, as far as other formats have keys for it.

use weir_spec::plan::{Level, LevelLoad};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OfferedLoad {
    Users {
        users: u32,
        /// Seconds over which users started.
        ramp_s: f64,
    },
    /// Sessions at equal distances.
    Constant { per_s: f64 },
    /// Sessions with exponential distances.
    Poisson { per_s: f64 },
    /// Sessions with gamma-distributed distances.
    Gamma {
        per_s: f64,
        /// Shape of the distances; 1 is Poisson, less is burstier. vLLM's `burstiness`.
        shape: f64,
    },
    Trace {
        /// Relative to the recording.
        speed: f64,
    },
}

impl OfferedLoad {
    pub fn of(level: &Level) -> Self {
        match level.load {
            LevelLoad::Users(users) => Self::Users { users, ramp_s: level.ramp.as_secs_f64() },
            LevelLoad::Constant(per_s) => Self::Constant { per_s },
            LevelLoad::Poisson(per_s) => Self::Poisson { per_s },
            // The coefficient of variation of a gamma is shape^-1/2.
            LevelLoad::Gamma { rate, cv } => Self::Gamma { per_s: rate, shape: 1.0 / (cv * cv) },
            LevelLoad::Trace { speed } => Self::Trace { speed },
        }
    }

    pub fn users(self) -> Option<u32> {
        match self {
            Self::Users { users, .. } => Some(users),
            _ => None,
        }
    }

    pub fn per_s(self) -> Option<f64> {
        match self {
            Self::Constant { per_s } | Self::Poisson { per_s } | Self::Gamma { per_s, .. } => {
                Some(per_s)
            }
            Self::Users { .. } | Self::Trace { .. } => None,
        }
    }

    pub fn words(self) -> String {
        match self {
            Self::Users { users: 1, .. } => "1 user".to_owned(),
            Self::Users { users, .. } => format!("{users} users"),
            Self::Constant { per_s } => format!("{per_s} sessions/s at equal distances"),
            Self::Poisson { per_s } => format!("{per_s} sessions/s, Poisson"),
            Self::Gamma { per_s, shape } => format!("{per_s} sessions/s, gamma of shape {shape}"),
            Self::Trace { speed } => format!("the times of a trace, {speed} x as fast"),
        }
    }
}
