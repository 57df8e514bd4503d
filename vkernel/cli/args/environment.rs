//! `-e name=value:name=value`, vkernel(7)'s kernel environment. Here each pair becomes a word of the command line.

/// The words of one `-e`. Quotes, `'` or `"`, protect colons and blanks and are taken away; a value with blanks is
/// quoted again as Linux reads it.
pub fn words(text: &str) -> Result<Vec<String>, String> {
    split(text)?.into_iter().map(|pair| word(&pair)).collect()
}

/// Splits at the colons that stand outside quotes.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut pairs = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ':') => pairs.push(String::new()),
            _ => pairs.last_mut().expect("begins with one pair").push(c),
        }
    }
    match quote {
        Some(open) => Err(format!("a quote {open} is not closed")),
        None => Ok(pairs),
    }
}

fn word(pair: &str) -> Result<String, String> {
    let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        return Err(format!("`{pair}` is not name=value; for a word without a value use --append"));
    };
    if name.contains(char::is_whitespace) {
        return Err(format!("the name `{name}` has a blank in it"));
    }
    if !value.contains(char::is_whitespace) {
        return Ok(pair.to_owned());
    }
    if value.contains('"') {
        // Linux knows no escape within its quotes.
        return Err(format!(
            "the value of {name} has both blanks and a double quote, and no kernel reads that"
        ));
    }
    Ok(format!("{name}=\"{value}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_split_at_colons() {
        assert_eq!(words("a=1:b.c=2").unwrap(), ["a=1", "b.c=2"]);
        assert_eq!(words("a=").unwrap(), ["a="]);
        assert_eq!(words("a=b=c").unwrap(), ["a=b=c"]);
    }

    #[test]
    fn quotes_protect_colons_and_blanks() {
        assert_eq!(
            words("vfs.root.mountfrom='hammer:vkd0s1d':x=1").unwrap(),
            ["vfs.root.mountfrom=hammer:vkd0s1d", "x=1"]
        );
        assert_eq!(words(r#""a=1:2""#).unwrap(), ["a=1:2"]);
        assert_eq!(words("dyndbg='file a.c +p'").unwrap(), ["dyndbg=\"file a.c +p\""]);
        assert_eq!(words(r#"a='"'"#).unwrap(), [r#"a=""#]);
    }

    #[test]
    fn what_is_no_pair_is_refused_and_named() {
        assert!(words("quiet").unwrap_err().contains("`quiet` is not name=value"));
        assert!(words("a='1").unwrap_err().contains("not closed"));
        assert!(words("").is_err());
        assert!(words("a=1:").is_err());
        assert!(words("=1").is_err());
        assert!(words("'a b'=1").unwrap_err().contains("blank"));
        assert!(words(r#"a='x "y"'"#).unwrap_err().contains("double quote"));
    }
}
