//! What was probably meant by a word nobody knows.

/// How many letters must be changed, added, taken away or swapped with their
/// neighbour to make one word of the other; more than `most` is `None`.
fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    // Three rows of the table are enough to see a swap.
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    Some(last[b.len()]).filter(|&found| found <= most)
}

/// The known word nearest to `word`, if one is near enough to be meant. Words of
/// other languages that mean the same are known too.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    const SYNONYMS: [(&str, &str); 24] = [
        ("where", "filter"),
        ("find", "filter"),
        ("match", "filter"),
        ("select", "pluck"),
        ("project", "pluck"),
        ("fields", "pluck"),
        ("sort", "orderBy"),
        ("order", "orderBy"),
        ("group", "groupBy"),
        ("offset", "skip"),
        ("take", "limit"),
        ("top", "limit"),
        ("first", "limit"),
        ("update", "set"),
        ("remove", "delete"),
        ("join", "lookup"),
        ("append", "push"),
        ("increment", "inc"),
        ("average", "avg"),
        ("mean", "avg"),
        ("like", "~"),
        ("is", "="),
        ("equals", "="),
        ("unique", "distinct"),
    ];
    let lower = word.to_lowercase();
    let meant = SYNONYMS.iter().find(|(other, _)| *other == lower).map(|(_, ours)| *ours);
    if let Some(found) = known.iter().find(|k| Some(**k) == meant) {
        return Some(found);
    }
    let most = match word.chars().count() {
        0..=2 => 0,
        3..=4 => 1,
        _ => 2,
    };
    let near = known.iter().filter_map(|k| distance(word, k, most).map(|d| (d, *k)));
    near.min_by_key(|(d, _)| *d).map(|(_, k)| k)
}

/// `; did you mean ..?`, or nothing.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    nearest(word, known).map_or(String::new(), |near| format!("; did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["filter", "limit", "groupBy", "inc", "in", "delete"];
        for (word, meant) in [
            ("fliter", Some("filter")),
            ("limt", Some("limit")),
            ("groupby", Some("groupBy")),
            ("group_by", Some("groupBy")),
            ("where", Some("filter")),
            ("remove", Some("delete")),
            ("ink", Some("inc")),
            ("xyz", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
    }
}
