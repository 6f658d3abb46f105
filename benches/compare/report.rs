//! The report: Markdown, on standard output as it comes, in a file at the end,
//! and in the documentation where that is asked for.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// What has been found so far.
pub(crate) struct Report {
    text: String,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            text: String::new(),
        }
    }

    /// Adds a paragraph, a heading or a table.
    pub(crate) fn add(&mut self, block: &str) {
        let block = block.trim_end();
        println!("{block}\n");
        self.text += block;
        self.text += "\n\n";
    }

    /// Keeps it.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        fs::write(path, &self.text).with_context(|| path.display().to_string())?;
        eprintln!("compare: the report is in {}", path.display());
        Ok(())
    }

    /// Puts it where `page` has the comments `<!-- SECTION -->` and
    /// `<!-- /SECTION -->`, in place of what is between them.
    pub(crate) fn publish(&self, page: &Path, section: &str) -> Result<()> {
        let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
        let Some(text) = between(&text, section, &self.text) else {
            bail!("{}: no section {section}", page.display());
        };
        fs::write(page, text).with_context(|| page.display().to_string())?;
        eprintln!("compare: {} has it too", page.display());
        Ok(())
    }
}

fn between(page: &str, section: &str, text: &str) -> Option<String> {
    let (begin, end) = (
        format!("<!-- {section} -->"),
        format!("<!-- /{section} -->"),
    );
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    let text = text.trim();
    Some(format!("{before}{begin}\n\n{text}\n\n{end}{after}"))
}

/// A Markdown table.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let headings: Vec<String> = headings.iter().map(|one| (*one).to_owned()).collect();
    let mut text = line(&headings);
    text += &format!("|{}\n", "---|".repeat(headings.len()));
    for row in rows {
        text += &line(row);
    }
    text
}

/// The machine that figures come from.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("an unnamed CPU", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let family = info
        .lines()
        .find_map(|line| line.strip_prefix("cpu family"))
        .map_or_else(String::new, |rest| {
            format!(" family {}", rest.trim_start_matches([' ', '\t', ':']))
        });
    format!(
        "{model}{family}, {} CPUs, {}",
        cpus(),
        std::env::consts::ARCH
    )
}

/// CPUs of this machine.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_of_a_page_is_replaced_and_nothing_else() {
        let page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
        let new = between(page, "x", "new\n\n").unwrap();
        assert_eq!(new, "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb\n");
        assert_eq!(between(page, "y", "new"), None);
    }
}
