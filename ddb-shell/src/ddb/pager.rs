//! `--More--`: output longer than a page, a page at a time, with FreeBSD's keys.

use super::prompt::Face;

/// What is printed at the end of a page, and erased again.
const MORE: &str = "--More--";

/// Prints `text` in pages of `page_lines`; 0, or a face without keys, prints all of it.
pub fn print(face: &mut dyn Face, text: &str, page_lines: usize) {
    if page_lines == 0 || !face.has_keys() || text.lines().count() <= page_lines {
        face.print(text);
        return;
    }
    let mut left = page_lines;
    for line in text.split_inclusive('\n') {
        if left == 0 {
            face.print(MORE);
            let key = face.key();
            face.print("\r        \r");
            left = match key {
                None => usize::MAX,
                Some(key) => match lines_of(key, page_lines) {
                    Some(lines) => lines,
                    None => return,
                },
            };
        }
        face.print(line);
        left -= 1;
    }
}

/// How many lines a key shows; `None` to stop. Other keys show nothing more on real consoles, which looks as if the
/// prompt hung: here they show a line.
fn lines_of(key: char, page_lines: usize) -> Option<usize> {
    match key {
        ' ' | 'f' => Some(page_lines),
        'd' => Some((page_lines / 2).max(1)),
        'q' | 'Q' | 'x' | 'X' | '\u{3}' => None,
        _ => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::prompt::Answer;
    use super::*;

    struct Keys {
        keys: Vec<char>,
        printed: String,
    }

    impl Face for Keys {
        fn read(&mut self, _: &str, _: &super::super::Words<'_>) -> Answer {
            Answer::Eof
        }
        fn print(&mut self, text: &str) {
            self.printed.push_str(text);
        }
        fn key(&mut self) -> Option<char> {
            if self.keys.is_empty() { None } else { Some(self.keys.remove(0)) }
        }
        fn has_keys(&self) -> bool {
            !self.keys.is_empty()
        }
        fn confirm(&mut self, _: &str) -> bool {
            false
        }
    }

    fn shown(keys: &str) -> usize {
        let mut face = Keys { keys: keys.chars().collect(), printed: String::new() };
        let text: String = (0..10).map(|number| format!("{number}\n")).collect();
        print(&mut face, &text, 4);
        face.printed.chars().filter(char::is_ascii_digit).count()
    }

    #[test]
    fn keys_show_a_page_half_a_page_a_line_or_stop() {
        assert_eq!(shown("q"), 4);
        assert_eq!(shown("\nq"), 5);
        assert_eq!(shown("dq"), 6);
        assert_eq!(shown(" q"), 8);
        assert_eq!(shown("  "), 10);
        assert_eq!(shown(""), 10, "without keys there is nobody to wait for");
    }
}
