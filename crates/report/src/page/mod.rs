//! The report: one page, as Markdown with links to still pictures, and as HTML with interactive
//! charts.

mod html;
mod markdown;

pub use html::html;
pub use markdown::markdown;
