//! Refusals of the API server without the values that it prints whole: of a field that can never
//! change it shows all there is of it, as Go or as JSON writes it. What is left names the field and the fault.

/// Characters between braces, or between quotes, from which on they are cut.
const MOST: usize = 80;

/// A text with its large values cut: what is between braces, and what is between quotes.
pub(super) fn without_dumps(text: &str) -> String {
    let text = without_hunks(text);
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find(['{', '"']) {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let quoted = from.starts_with('"');
        let end = if quoted {
            quoted_end(from)
        } else {
            block_end(from)
        };
        let (value, after) = match end {
            Some(end) => from.split_at(end),
            // Of a value without an end, which was cut, what is said last may be behind it.
            None => from.split_at(last_word(from)),
        };
        match (quoted, value.chars().count() > MOST + 2) {
            (_, false) => out.push_str(value),
            (true, true) => out.extend(value.chars().take(MOST / 2).chain("…\"".chars())),
            (false, true) => out.push_str("{…}"),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Without differences line by line: a line such as `@@ -1,6 +1,6 @@` and those that it is about.
fn without_hunks(text: &str) -> String {
    let mut inside = false;
    let kept = text.split_inclusive('\n').filter(|line| {
        let begins = line.trim().starts_with("@@ -") && line.trim().ends_with("@@");
        inside = begins || (inside && line.starts_with([' ', '+', '-', '\t']));
        !inside
    });
    kept.collect()
}

/// Where a text between quotes ends, which a text begins with.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Where a block in braces ends, which a text begins with. Braces between quotes are none.
fn block_end(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(next) = text[at..].find(['{', '}', '"']) {
        let here = at + next;
        let step = match &text[here..=here] {
            "{" => {
                depth += 1;
                1
            }
            "}" if depth == 1 => return Some(here + 1),
            "}" => {
                depth -= 1;
                1
            }
            _ => quoted_end(&text[here..])?,
        };
        at = here + step;
    }
    None
}

/// Where the fault begins that stands after a value, such as `: field is immutable`.
fn last_word(text: &str) -> usize {
    text.rfind("}: ").map_or(text.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_field_and_the_fault_and_no_dump() {
        let spec = "ObjectMeta:v1.ObjectMeta{Name:\"\", Labels:map[string]string{\"a\":\"}b\"}}, \
                    Spec:core.PodSpec{Volumes:[]core.Volume(nil), RestartPolicy:\"Never\"}";
        let diff = "\u{a0}\u{a0}core.PodSpec{\n- \tActiveDeadlineSeconds: &3,\n+ \tActiveDeadlineSeconds: \
                    &4,\n  \t... // 30 identical fields\n  \tHostname: \"\",\n  }\n";
        let long = "x".repeat(300);
        for (text, expected) in [
            ("as it is", "as it is".to_owned()),
            (
                &format!(
                    "Job.batch \"a\" is invalid: spec.template: Invalid value: \
                     core.PodTemplateSpec{{{spec}}}: field is immutable"
                ),
                "Job.batch \"a\" is invalid: spec.template: Invalid value: \
                 core.PodTemplateSpec{…}: field is immutable"
                    .to_owned(),
            ),
            (
                &format!("spec.template: Invalid value: {{\"a\":\"{long}\"}}: field is immutable"),
                "spec.template: Invalid value: {…}: field is immutable".to_owned(),
            ),
            (
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable",
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"
                    .to_owned(),
            ),
            (
                &format!("spec: Forbidden: pod updates may not change other fields\n{diff}"),
                "spec: Forbidden: pod updates may not change other fields\n\u{a0}\u{a0}core.PodSpec{…}\n"
                    .to_owned(),
            ),
            (
                &format!("metadata.labels: Invalid value: \"{long}\": must be no more than 63 bytes"),
                format!(
                    "metadata.labels: Invalid value: \"{}…\": must be no more than 63 bytes",
                    "x".repeat(39)
                ),
            ),
            (
                &format!("Invalid value: core.X{{A:core.Y{{{spec}: field is immutable"),
                "Invalid value: core.X{…}: field is immutable".to_owned(),
            ),
            (
                "[spec: Forbidden: it is immutable\n@@ -1,6 +1,6 @@\n   \"a\": [\n-    \"b\"\n+    \
                 \"c\"\n   ],\n@@ -9 +9 @@\n {\n, spec.b: Required value]",
                "[spec: Forbidden: it is immutable\n, spec.b: Required value]".to_owned(),
            ),
            (
                "is invalid: [spec.a: Required value, spec.b: Invalid value: \"c\": no]",
                "is invalid: [spec.a: Required value, spec.b: Invalid value: \"c\": no]".to_owned(),
            ),
        ] {
            assert_eq!(without_dumps(text), expected);
        }
    }
}
