//! The page around the charts: skeleton, style, and how text and numbers get onto it.

use std::time::Duration;

use jiff::Timestamp;

/// Makes any text safe between tags and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A duration for a person.
pub(crate) fn show_ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    if ms < 100.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// A count for a person: groups of three, apart by a thin space.
pub(crate) fn show_count(count: usize) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

pub(super) fn page(title: &str, body: &str, generated: Timestamp) -> String {
    let title = escape(title);
    let at = generated.strftime("%Y-%m-%d %H:%M:%S UTC");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>{body}\
         <footer>Made {at} by <code>lab demo</code>.</footer></main></body></html>\n"
    )
}

/// What the marks of a timeline mean.
pub(super) const LEGEND: &str = r#"<ul class="legend">
<li><svg viewBox="0 0 12 12"><circle class="read" cx="6" cy="6" r="3"/></svg>read</li>
<li><svg viewBox="0 0 12 12"><rect class="write" x="3" y="3" width="6" height="6"/></svg>write</li>
<li><svg viewBox="0 0 22 12" class="wide"><path class="wait read" d="M4 6H22"/><circle class="read held" cx="5" cy="6" r="4"/></svg>held, until it was answered</li>
<li><svg viewBox="0 0 12 12"><path class="failed" d="M1 1l10 10m0 -10l-10 10"/></svg>failed</li>
<li><svg viewBox="0 0 12 12"><rect class="hold" width="12" height="12"/></svg>users held</li>
<li><svg viewBox="0 0 12 12"><path class="promote" d="M6 0V12"/></svg>new primary writable</li>
<li><svg viewBox="0 0 12 12"><rect class="step" y="3" width="12" height="6"/></svg>step of the swap</li>
</ul>"#;

const STYLE: &str = "
:root{--ground:#fff;--text:#1c2430;--soft:#5b6675;--line:#dfe4ea;--read:#1f6fb5;--write:#c4570f;--hold:#f3d98b66;
--step:#5a7d5a;--bad:#c22a2a;--good:#2c7a3f}
@media(prefers-color-scheme:dark){:root{--ground:#14181d;--text:#e3e8ee;--soft:#98a4b3;--line:#2b323b;--read:#62aef0;
--write:#f29a55;--hold:#8a6d1f4d;--step:#7fb07f;--bad:#ff6f6f;--good:#6fcf87}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:1040px;margin:0 auto;padding:16px}
h1{font-size:1.5rem;line-height:1.2}h2{margin-top:2.2em;border-bottom:1px solid var(--line)}h3{margin:1.6em 0 0}
p{margin:.3em 0 .8em}
.headline{padding:.7em 1em;border-left:5px solid;background:color-mix(in srgb,currentColor 8%,transparent)}
.good{color:var(--good)}.bad{color:var(--bad)}
table{border-collapse:collapse;margin:.6em 0}td,th{padding:.2em 1em .2em 0;text-align:left;vertical-align:top}
th,.facts td:first-child{color:var(--soft);font-weight:normal}tr+tr td{border-top:1px solid var(--line)}
.n{text-align:right;font-variant-numeric:tabular-nums}summary{cursor:pointer;color:var(--soft)}
.chart{overflow-x:auto}.chart svg{display:block;width:100%;min-width:760px;height:auto}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}svg .end{text-anchor:end}svg .mid{text-anchor:middle}
svg .took{fill:var(--text)}
.grid{stroke:var(--line);fill:none}.hold{fill:var(--hold)}.step{fill:var(--step)}
.promote{stroke:var(--good);stroke-width:1.5;stroke-dasharray:4 3;fill:none}
.read{fill:var(--read);stroke:var(--read)}.write{fill:var(--write);stroke:var(--write)}
circle,rect.write{stroke:none;fill-opacity:.75}.held{fill-opacity:1}
.wait{stroke-width:1;stroke-opacity:.35;fill:none}.slice{stroke-width:1;fill:none;stroke-opacity:.8}
.failed{stroke:var(--bad);stroke-width:2.5;fill:none}
.legend{display:flex;flex-wrap:wrap;gap:.2em 1.2em;list-style:none;padding:0;margin:.2em 0;color:var(--soft);font-size:.85rem}
.legend svg{width:12px;height:12px;margin-right:.4em;vertical-align:-1px}.legend svg.wide{width:22px}
footer{margin-top:3em;color:var(--soft);font-size:.85rem}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_with_a_meaning_is_escaped() {
        let text = r#"<b onload="x('y')">&amp;"#;
        assert_eq!(escape(text), "&lt;b onload=&quot;x(&#39;y&#39;)&quot;&gt;&amp;amp;");
    }

    #[test]
    fn counts_are_grouped() {
        let shown: Vec<_> = [0, 999, 1000, 1_234_567].map(show_count).into();
        assert_eq!(shown, ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }
}
