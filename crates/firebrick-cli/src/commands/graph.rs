//! Drawing events as git draws commits: one lane per line of events that goes on below.

/// The lanes, each with the event that it leads to.
#[derive(Debug, Default)]
pub(super) struct Graph {
    lanes: Vec<String>,
}

impl Graph {
    /// The lines for the next event, which comes behind all its descendants: first some that join
    /// lanes, then the event's own, which the text goes on, then some that fork or end lanes.
    pub(super) fn event(
        &mut self,
        event: &str,
        parents: &[String],
    ) -> (Vec<String>, String, Vec<String>) {
        let mut before = Vec::new();
        let column = match self.lanes.iter().position(|lane| lane == event) {
            Some(column) => column,
            None => {
                self.lanes.push(event.to_owned());
                self.lanes.len() - 1
            }
        };
        while let Some(other) = self.lanes.iter().rposition(|lane| lane == event)
            && other > column
        {
            before.push(self.join(column, other));
            self.lanes.remove(other);
        }
        let star = |lane| if lane == column { "*" } else { "|" };
        let own = (0..self.lanes.len())
            .map(star)
            .collect::<Vec<_>>()
            .join(" ");
        let mut after = Vec::new();
        match parents {
            [] => {
                if column + 1 < self.lanes.len() {
                    after.push(self.end(column));
                }
                self.lanes.remove(column);
            }
            [first, others @ ..] => {
                self.lanes[column].clone_from(first);
                for parent in others.iter().rev() {
                    after.push(self.fork(column));
                    self.lanes.insert(column + 1, parent.clone());
                }
            }
        }
        (before, own, after)
    }

    /// Lane `other` goes over into lane `column`, those right of it move up.
    fn join(&self, column: usize, other: usize) -> String {
        let mut line = vec![' '; self.lanes.len() * 2];
        (0..other).for_each(|lane| line[lane * 2] = '|');
        (other..self.lanes.len()).for_each(|lane| line[lane * 2 - 1] = '/');
        let gap = (column * 2 + 1)..(other * 2).saturating_sub(2);
        gap.filter(|at| at % 2 == 1).for_each(|at| line[at] = '_');
        text(line)
    }

    /// A lane begins beside lane `column`, those right of it give way.
    fn fork(&self, column: usize) -> String {
        let mut line = vec![' '; self.lanes.len() * 2 + 2];
        (0..=column).for_each(|lane| line[lane * 2] = '|');
        (column..self.lanes.len()).for_each(|lane| line[lane * 2 + 1] = '\\');
        text(line)
    }

    /// Lane `column` ends, those right of it move up.
    fn end(&self, column: usize) -> String {
        let mut line = vec![' '; self.lanes.len() * 2];
        (0..column).for_each(|lane| line[lane * 2] = '|');
        (column + 1..self.lanes.len()).for_each(|lane| line[lane * 2 - 1] = '/');
        text(line)
    }
}

fn text(line: Vec<char>) -> String {
    line.into_iter().collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(events: &[(&str, &[&str])]) -> String {
        let mut graph = Graph::default();
        let mut lines = Vec::new();
        for (event, parents) in events {
            let parents: Vec<String> = parents.iter().map(|&parent| parent.to_owned()).collect();
            let (before, own, after) = graph.event(event, &parents);
            lines.extend(before);
            lines.push(format!("{own} {event}"));
            lines.extend(after);
        }
        lines.join("\n")
    }

    #[test]
    fn a_fork_and_its_merge() {
        let drawn = draw(&[
            ("m", &["a", "b"]),
            ("b", &["r"]),
            ("a", &["r"]),
            ("r", &["g"]),
            ("g", &[]),
        ]);
        assert_eq!(drawn, "* m\n|\\\n| * b\n* | a\n|/\n* r\n* g");
    }

    #[test]
    fn three_heads_of_one_event() {
        let drawn = draw(&[("a", &["r"]), ("b", &["r"]), ("c", &["r"]), ("r", &[])]);
        assert_eq!(
            drawn,
            "* a\n| * b\n| | * c\n| |/\n|/\n* r".replace("| |/\n|/", "|_|/\n|/")
        );
    }
}
