//! Tables for people: columns as wide as their content, cut to the terminal. Pure.

use super::text::{Tone, cut, one_line};

/// What a terminal is like, or that there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// Characters of a line; none on a pipe, where nothing is cut.
    pub(super) width: Option<usize>,
    pub(super) colour: bool,
}

/// One field of a table: one line without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        Self::toned(text, Tone::Plain)
    }

    pub(super) fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self {
            text: one_line(text.as_ref()),
            tone,
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows under headers. The last column takes what is left of the line.
#[derive(Clone, Debug)]
pub(super) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// Between columns.
const GAP: usize = 3;
/// No column is cut below this, or below its header.
const NARROWEST: usize = 8;

impl Table {
    pub(super) fn new(headers: &[&'static str]) -> Self {
        Self {
            headers: headers.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The widths of the columns, so that rows that come later can line up.
    pub(super) fn widths(&self, style: Style) -> Vec<usize> {
        let columns = self.headers.iter().enumerate();
        let mut widths: Vec<usize> = columns
            .map(|(column, header)| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(Cell::width).fold(header.len(), usize::max)
            })
            .collect();
        let gaps = GAP * widths.len().saturating_sub(1);
        let Some(room) = style.width.map(|width| width.saturating_sub(gaps)) else {
            return widths;
        };
        let floors: Vec<usize> = self
            .headers
            .iter()
            .map(|it| it.len().max(NARROWEST))
            .collect();
        // The last column is the one that tells stories: it gives way first.
        let mut over = widths.iter().sum::<usize>().saturating_sub(room);
        if let (Some(last), Some(floor)) = (widths.last_mut(), floors.last()) {
            let given = over.min(last.saturating_sub(*floor));
            *last -= given;
            over -= given;
        }
        while over > 0 {
            let widest = (0..widths.len())
                .filter(|column| widths[*column] > floors[*column])
                .max_by_key(|column| widths[*column]);
            let Some(widest) = widest else { break };
            widths[widest] -= 1;
            over -= 1;
        }
        widths
    }

    /// Headers and rows.
    pub(super) fn render(&self, style: Style) -> String {
        let widths = self.widths(style);
        let rows = self.rows.iter().map(|row| line(row, &widths, style));
        std::iter::once(self.header(&widths, style))
            .chain(rows)
            .collect()
    }

    /// The line of headers.
    pub(super) fn header(&self, widths: &[usize], style: Style) -> String {
        let headers = self.headers.iter();
        let cells: Vec<Cell> = headers
            .map(|header| Cell::toned(header, Tone::Strong))
            .collect();
        line(&cells, widths, style)
    }
}

/// One line, with its line end and without blanks before that.
pub(super) fn line(row: &[Cell], widths: &[usize], style: Style) -> String {
    let mut line = String::new();
    let mut owed = 0;
    for (cell, width) in row.iter().zip(widths) {
        let text = match style.width {
            Some(_) => cut(&cell.text, *width),
            None => cell.text.clone(),
        };
        if !text.is_empty() {
            line.push_str(&" ".repeat(owed));
            owed = 0;
            let painted = if style.colour {
                cell.tone.paint(&text)
            } else {
                text.clone()
            };
            line.push_str(&painted);
        }
        owed += width.saturating_sub(text.chars().count()) + GAP;
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "SYNC", "MESSAGE"]);
        let row =
            |a: &str, b, c: &str| vec![Cell::new(a), Cell::toned(b, Tone::Good), Cell::new(c)];
        table.push(row("shop", "Synced", ""));
        table.push(row(
            "a-longer-name",
            "OutOfSync",
            "ConfigMap/a: three\nwords \x1b[1m",
        ));
        table
    }

    #[test]
    fn a_pipe_gets_everything_in_straight_columns() {
        let expected = "\
NAME            SYNC        MESSAGE
shop            Synced
a-longer-name   OutOfSync   ConfigMap/a: three words ?[1m
";
        assert_eq!(table().render(Style::default()), expected);
    }

    #[test]
    fn a_terminal_gets_lines_that_fit() {
        let style = |width| Style {
            width: Some(width),
            colour: false,
        };
        let expected = "\
NAME            SYNC        MESSAGE
shop            Synced
a-longer-name   OutOfSync   ConfigMap/a…
";
        assert_eq!(table().render(style(40)), expected);
        let expected = "\
NAME         SYNC        MESSAGE
shop         Synced
a-longer-…   OutOfSync   ConfigM…
";
        assert_eq!(table().render(style(33)), expected);
        for width in [30, 36, 40, 60] {
            for line in table().render(style(width)).lines() {
                assert!(line.chars().count() <= width.max(30), "{width}: {line}");
            }
        }
    }

    #[test]
    fn colour_does_not_move_columns() {
        let style = Style {
            width: None,
            colour: true,
        };
        let coloured = table().render(style);
        assert!(coloured.contains("\x1b[32mSynced\x1b[0m"));
        let plain = ["\x1b[0m", "\x1b[1m", "\x1b[32m"]
            .iter()
            .fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(plain, table().render(Style::default()));
    }
}
