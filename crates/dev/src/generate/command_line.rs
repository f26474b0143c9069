//! `cli.md`: the help of every command, from the built program.
//!
//! `WEIR_BIN` names the program; without it cargo builds one. Commands are found in the lists of
//! the help.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::Reference;

/// Independent of the terminal.
const COLUMNS: &str = "100";
/// More levels of commands than this are a loop.
const MOST_LEVELS: usize = 4;

/// Builds the program when `WEIR_BIN` does not name one.
pub(crate) fn reference(root: &Path) -> anyhow::Result<Reference> {
    let program = match std::env::var_os("WEIR_BIN") {
        Some(named) => PathBuf::from(named),
        None => built(root)?,
    };
    let mut pages = Vec::new();
    follow(&mut |command| help(&program, command), &[], &mut pages)?;
    Ok(Reference::markdown("docs/reference/cli.md", &document(&pages)))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Page {
    command: Vec<String>,
    help: String,
}

/// Cargo's messages have the path under any target folder.
fn built(root: &Path) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--package", "weir", "--message-format=json-render-diagnostics"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the program does not build; fix it, or name a built one in WEIR_BIN");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    messages
        .lines()
        .filter_map(executable)
        .next_back()
        .context("cargo built no program `weir`; name a built one in WEIR_BIN")
}

fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_ours = message["target"]["name"] == "weir" && message["target"]["kind"][0] == "bin";
    message["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
}

fn help(program: &Path, command: &[String]) -> anyhow::Result<String> {
    let shown = || {
        format!("{} {}", program.display(), [command, &["--help".to_owned()]].concat().join(" "))
    };
    // Without a terminal, the width comes from COLUMNS and there are no colours.
    let output = Command::new(program)
        .args(command)
        .arg("--help")
        .env("COLUMNS", COLUMNS)
        .env("NO_COLOR", "1")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{}`", shown()))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", shown(), String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("the output of `{}` is not text", shown()))
}

fn follow(
    help: &mut impl FnMut(&[String]) -> anyhow::Result<String>,
    command: &[String],
    pages: &mut Vec<Page>,
) -> anyhow::Result<()> {
    if command.len() > MOST_LEVELS {
        bail!("`{}` lies deeper than {MOST_LEVELS} levels", command.join(" "));
    }
    let text = help(command)?;
    let below = commands(&text);
    pages.push(Page { command: command.to_owned(), help: text });
    for name in below {
        let mut deeper = command.to_owned();
        deeper.push(name);
        follow(help, &deeper, pages)?;
    }
    Ok(())
}

/// Without `help`. Second lines of descriptions are indented deeper than names.
fn commands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

fn document(pages: &[Page]) -> String {
    let mut body = String::from("# Command line\n");
    for page in pages {
        let name = [&["weir".to_owned()], page.command.as_slice()].concat().join(" ");
        let _ = write!(body, "\n## `{name}`\n\n```text\n");
        for line in page.help.trim_end().lines() {
            let _ = writeln!(body, "{}", line.trim_end());
        }
        body.push_str("```\n");
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: &str = "Measure.\n\nUsage: weir <COMMAND>\n\nCommands:\n  run   Run it\n  \
                       spec  Files, with a description so long that\n          it goes on\n  help  \
                       Print help\n\nOptions:\n  -q  Quiet\n";

    fn answer(command: &[String]) -> String {
        match command {
            [] => TOP.to_owned(),
            [spec] if spec == "spec" => "Files\n\nCommands:\n  new  Write one\n".to_owned(),
            other => format!("Help of {}   \n", other.join(" ")),
        }
    }

    #[test]
    fn every_command_gets_its_page() {
        let mut pages = Vec::new();
        follow(&mut |command| Ok(answer(command)), &[], &mut pages).expect("all commands answer");
        let names: Vec<String> = pages.iter().map(|page| page.command.join(" ")).collect();
        assert_eq!(names, ["", "run", "spec", "spec new"]);
        let text = document(&pages);
        assert!(text.contains("## `weir spec new`\n\n```text\nHelp of spec new\n```\n"), "{text}");
    }

    #[test]
    fn a_loop_of_commands_ends_with_an_error() {
        let mut endless = |_: &[String]| Ok("Commands:\n  again  Once more\n".to_owned());
        assert!(follow(&mut endless, &[], &mut Vec::new()).is_err());
    }

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"weir","kind":["bin"]},
            "executable":"/x/debug/weir"}"#;
        assert_eq!(executable(line), Some(PathBuf::from("/x/debug/weir")));
        let library = line.replace(r#"["bin"]"#, r#"["lib"]"#);
        assert_eq!(executable(&library), None);
        assert_eq!(executable("no message"), None);
    }
}
