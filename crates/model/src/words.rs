//! Enums whose variants are words in files, tables and on the command line.

/// Declares an enum with a word per variant. Serde, `name()`, `Display` and `named()` use the word;
/// `ALL` has the variants in order. A crate that declares one must depend on serde.
#[macro_export]
macro_rules! words {
    (
        $(#[$meta:meta])*
        $vis:vis enum $Enum:ident {
            $($(#[$of:meta])* $Variant:ident = $word:literal,)+
        }
    ) => {
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize,
            serde::Deserialize,
        )]
        $(#[$meta])*
        $vis enum $Enum {
            $($(#[$of])* #[serde(rename = $word)] $Variant,)+
        }

        impl $Enum {
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$Variant),+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Variant => $word,)+
                }
            }

            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.name() == word)
            }
        }

        impl std::fmt::Display for $Enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
