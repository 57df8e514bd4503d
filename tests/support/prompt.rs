//! Sessions at the ddb prompt, by scripts: what each command printed, and whether that is what it should print.

use regex::Regex;

/// What each command of a session printed: the session shows every command behind its prompt.
pub fn answers(session: &str, commands: &[&str]) -> Vec<String> {
    let prompt = Regex::new(r"(?m)^db\{\d\}> .*\n?").expect("a pattern");
    let answers: Vec<String> = prompt.split(session).skip(1).map(str::to_owned).collect();
    assert_eq!(answers.len(), commands.len(), "an answer for each command\n{session}");
    answers
}

/// Every command must have printed what its regular expression, over all its lines, describes.
#[track_caller]
pub fn expect_answers<'c>(session: &str, cases: impl IntoIterator<Item = (&'c str, &'c str)>) {
    let (commands, patterns): (Vec<&str>, Vec<&str>) = cases.into_iter().unzip();
    let mut wrong = Vec::new();
    for ((command, pattern), answer) in commands.iter().zip(patterns).zip(answers(session, &commands)) {
        if !Regex::new(pattern).expect("a pattern").is_match(&answer) {
            wrong.push(format!("{command}\n  should print {pattern}\n  but printed {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
