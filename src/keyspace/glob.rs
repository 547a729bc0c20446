//! Redis globs, matched as a server matches them.

/// Whether a name matches a glob: `*`, `?`, `[a-z]`, `[^x]` and `\` as in Redis.
///
/// Takes time in the product of both lengths at worst, never more: a star
/// that fails goes back to the last star only.
pub fn matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if glob.get(g) == Some(&b'*') {
            star = Some((g + 1, n));
            g += 1;
            continue;
        }
        if let Some(after) = one(glob, g, name[n]) {
            g = after;
            n += 1;
            continue;
        }
        let Some((back, at)) = star else { return false };
        star = Some((back, at + 1));
        g = back;
        n = at + 1;
    }
    glob[g..].iter().all(|&byte| byte == b'*')
}

/// Matches one byte against what stands at `g`; where the glob goes on, if it does.
fn one(glob: &[u8], g: usize, byte: u8) -> Option<usize> {
    match *glob.get(g)? {
        b'?' => Some(g + 1),
        b'[' => class(glob, g + 1, byte),
        b'\\' if g + 1 < glob.len() => (glob[g + 1] == byte).then_some(g + 2),
        literal => (literal == byte).then_some(g + 1),
    }
}

fn class(glob: &[u8], mut g: usize, byte: u8) -> Option<usize> {
    let negated = glob.get(g) == Some(&b'^');
    g += usize::from(negated);
    let mut found = false;
    while g < glob.len() && glob[g] != b']' {
        if glob[g] == b'\\' && g + 1 < glob.len() {
            found |= glob[g + 1] == byte;
            g += 2;
        } else if g + 2 < glob.len() && glob[g + 1] == b'-' {
            let (low, high) = (glob[g].min(glob[g + 2]), glob[g].max(glob[g + 2]));
            found |= (low..=high).contains(&byte);
            g += 3;
        } else {
            found |= glob[g] == byte;
            g += 1;
        }
    }
    (found != negated).then_some((g + 1).min(glob.len()))
}

/// The part before a glob's first special character, which every match begins with.
pub fn literal_prefix(glob: &[u8]) -> &[u8] {
    let end = glob.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\')).unwrap_or(glob.len());
    &glob[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_redis_does() {
        for (glob, name, expected) in [
            ("*", "", true),
            ("tenant:*:wm:*", "tenant:a:wm:b", true),
            ("tenant:*:wm:*", "tenant:a:xm:b", false),
            ("h?llo", "hallo", true),
            ("h[ae]llo", "hello", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("session", "session:1", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(glob.as_bytes(), name.as_bytes()), expected, "{glob} {name}");
        }
        assert_eq!(literal_prefix(b"a:b*"), b"a:b");
    }
}
