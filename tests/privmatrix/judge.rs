//! Holds the two outputs against each other, line by line and word by word.

use super::classes::{CLASSES, Class, Recognise, Token};
use std::collections::BTreeMap;

/// What came of a comparison.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Differences by the name of their class.
    pub explained: BTreeMap<&'static str, usize>,
    /// Lines that differ without a reason, ours and theirs.
    pub unexplained: Vec<(String, String)>,
    /// Lines that differ at all.
    pub differing: usize,
}

impl Verdict {
    /// Classes that explained nothing: they are to be removed.
    pub fn idle(&self) -> Vec<&'static str> {
        CLASSES.iter().map(|class| class.name).filter(|name| !self.explained.contains_key(name)).collect()
    }
}

/// Compares two outputs of the guest.
pub fn compare(ours: &str, theirs: &str) -> Verdict {
    let mut verdict = Verdict::default();
    let mut theirs = theirs.lines();
    for our in ours.lines() {
        let their = theirs.next().unwrap_or_default();
        if our == their {
            continue;
        }
        verdict.differing += 1;
        match explain(our, their) {
            Some(names) => {
                for name in names {
                    *verdict.explained.entry(name).or_default() += 1;
                }
            }
            None => verdict.unexplained.push((our.to_owned(), their.to_owned())),
        }
    }
    verdict.unexplained.extend(theirs.map(|their| (String::new(), their.to_owned())));
    verdict
}

/// The classes that explain a line, or `None` if they do not.
fn explain(our: &str, their: &str) -> Option<Vec<&'static str>> {
    let ours: Vec<&str> = our.split_whitespace().collect();
    let theirs: Vec<&str> = their.split_whitespace().collect();
    for class in CLASSES {
        if let Recognise::Line(accept) = class.recognise
            && accept(&ours, &theirs)
        {
            return Some(vec![class.name]);
        }
    }
    if ours.len() != theirs.len() {
        return None;
    }
    let mut names = Vec::new();
    for (index, (our, their)) in ours.iter().zip(&theirs).enumerate() {
        if our != their {
            let token = Token { ours: &ours, index, our };
            names.extend(explain_word(&token, their)?);
        }
    }
    Some(names)
}

fn explain_word(token: &Token<'_>, their: &str) -> Option<Vec<&'static str>> {
    let mut word = their.to_owned();
    let mut names = Vec::new();
    for Class { name, recognise, .. } in CLASSES {
        let Recognise::Token(rewrite) = recognise else { continue };
        if word == token.our {
            break;
        }
        if let Some(rewritten) = rewrite(token, &word).filter(|rewritten| *rewritten != word) {
            word = rewritten;
            names.push(*name);
        }
    }
    (word == token.our).then_some(names)
}
