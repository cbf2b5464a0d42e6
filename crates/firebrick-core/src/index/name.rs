//! The name of an index by function (format §13.1).

/// The name that JavaScript gives to an index from the source text of its map function.
///
/// ```
/// use firebrick_core::index::name;
/// assert_eq!(name("(doc) => doc.n"), "doc.n");
/// assert_eq!(name("(doc, emit) => emit(doc.a)"), "(doc, emit) => emit(doc.a)");
/// ```
#[must_use]
pub fn name(source: &str) -> &str {
    if has_two_parameters(source) {
        return source;
    }
    let Some((_, body)) = source.split_once("=>") else {
        return source;
    };
    match first_run(body) {
        Some(run) if !run.contains("return") => run,
        _ => source,
    }
}

/// What follows the arrow up to the next brace, without the white space and the one brace that it
/// begins with.
///
/// White space and brace are passed over only as far as at least one character is left, so an empty
/// body gives the space before its brace.
fn first_run(body: &str) -> Option<&str> {
    let spaces = body.trim_start_matches(is_space);
    let after_brace = spaces.strip_prefix('{').map(|after| {
        let inner = after.trim_start_matches(is_space);
        suffixes(after, inner)
    });
    // From the longest beginning to shorter ones, as a greedy match gives back.
    let starts = after_brace.into_iter().flatten();
    starts.chain(suffixes(body, spaces)).find_map(|rest| {
        let end = rest.find(['{', '}']).unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}

/// `to` and the longer rests of `from` that end there: what is left after passing over ever less
/// white space.
fn suffixes<'a>(from: &'a str, to: &'a str) -> impl Iterator<Item = &'a str> {
    let skipped = &from[..from.len() - to.len()];
    let cuts = skipped.char_indices().map(|(at, _)| at).rev();
    std::iter::once(skipped.len())
        .chain(cuts)
        .map(|at| &from[at..])
}

/// White space as in a JavaScript pattern.
fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t'..='\r'
            | ' '
            | '\u{a0}'
            | '\u{1680}'
            | '\u{2000}'..='\u{200a}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{202f}'
            | '\u{205f}'
            | '\u{3000}'
            | '\u{feff}'
    )
}

/// Whether `(A,B)` is anywhere in the source: A and B not empty and without `,` `(` `)`, or A a
/// list `[…]`; before B there may be white space.
fn has_two_parameters(source: &str) -> bool {
    source
        .match_indices('(')
        .any(|(at, _)| is_pair(&source[at + 1..]))
}

/// Whether the text begins with `A,B)`.
fn is_pair(text: &str) -> bool {
    let plain = text.find([',', '(', ')']).filter(|end| *end > 0);
    let list = text
        .strip_prefix('[')
        .and_then(|inner| Some(inner.find(']').filter(|end| *end > 0)? + 2));
    [plain, list].into_iter().flatten().any(|end| {
        text[end..].strip_prefix(',').is_some_and(|rest| {
            let end = rest.find([',', '(', ')']).unwrap_or(rest.len());
            // B may be white space: passing over less of it leaves a character.
            end > 0 && rest[end..].starts_with(')')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn parameters() {
        for source in [
            "(doc, emit) => emit(doc.a)",
            "(doc) => f(a, b)",
            "([a, b], c) => a",
            "(doc) => f([doc.a, doc.b], 1)",
            "({ a, b }) => a",
        ] {
            assert_eq!(name(source), source);
        }
        assert_eq!(name("(doc) => [doc.a, doc.b]"), "[doc.a, doc.b]");
        assert_eq!(name("(doc) => f(a,)"), "f(a,)");
        assert_eq!(name("(doc) => f(,a)"), "f(,a)");
    }

    #[test]
    fn bodies() {
        for (source, expected) in [
            ("doc => doc.n", "doc.n"),
            ("(doc) => { doc.n }", "doc.n "),
            ("(doc) => {}", " "),
            ("(doc) =>{}", "(doc) =>{}"),
            ("(doc) => { }", " "),
            ("(doc) =>\n  doc.x  ", "doc.x  "),
            (
                "(doc) => { return doc.kind }",
                "(doc) => { return doc.kind }",
            ),
            ("doc => { if (doc.a) { return 1 } }", "if (doc.a) "),
            ("(doc) => ({ a: doc.n })", "("),
            ("doc =>", "doc =>"),
            ("doc", "doc"),
        ] {
            assert_eq!(name(source), expected, "{source}");
        }
    }
}
