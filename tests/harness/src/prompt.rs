//! Sessions at the ddb prompt, by scripts: what each command printed, and whether that is what it should print.

use regex::Regex;

/// What each command of a session printed: the session shows every command behind its prompt.
///
/// # Panics
/// If the session has not answered each.
#[must_use]
pub fn answers(session: &str, commands: &[&str]) -> Vec<String> {
    let prompt = Regex::new(r"(?m)^db\{\d+\}(?:\(diversion\))?> .*\n?").expect("a pattern");
    let answers: Vec<String> = prompt.split(session).skip(1).map(str::to_owned).collect();
    assert_eq!(answers.len(), commands.len(), "an answer for each command\n{session}");
    answers
}

/// The commands, each with a regular expression over all its lines, that have printed something else; a line or more of
/// each.
///
/// # Panics
/// If the session has not answered each.
#[must_use]
pub fn mismatches<'c>(session: &str, cases: impl IntoIterator<Item = (&'c str, &'c str)>) -> String {
    let (commands, patterns): (Vec<&str>, Vec<&str>) = cases.into_iter().unzip();
    let mut wrong = String::new();
    for ((command, pattern), answer) in commands.iter().zip(patterns).zip(answers(session, &commands)) {
        if !Regex::new(pattern).expect("a pattern").is_match(&answer) {
            wrong.push_str(&format!("{command}\n  should print {pattern}\n  but printed {answer:?}\n"));
        }
    }
    wrong
}

/// The first of these texts that does not follow the one before somewhere in `output`.
#[must_use]
pub fn first_missing<'t>(output: &str, texts: &[&'t str]) -> Option<&'t str> {
    let mut rest = output;
    for text in texts {
        let Some(at) = rest.find(text) else { return Some(text) };
        rest = &rest[at + text.len()..];
    }
    None
}
