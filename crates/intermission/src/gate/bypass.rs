//! Requests that no hold holds: they have no ticket, so no drain waits for them either.

use std::net::IpAddr;

use http::header::{HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request};
use subtle::ConstantTimeEq;

use crate::config::cidr::Cidr;
use crate::config::gate::{App as AppSettings, Bypass as Rules};
use crate::config::secret::Secret;
use crate::config::token::TokenError;

/// What passes an app's holds; by default nothing does.
#[derive(Debug, Default)]
pub(crate) struct Bypass {
    rules: Rules,
    header: Option<(HeaderName, Secret)>,
}

impl Bypass {
    /// Reads the token too, where there is one.
    pub(crate) fn load(app: &AppSettings) -> Result<Self, TokenError> {
        let Some(rules) = app.bypass.clone() else { return Ok(Self::default()) };
        let header = match &rules.header {
            Some(header) => {
                let name = HeaderName::try_from(&header.name).ok();
                name.zip(header.token(&app.name)?)
            }
            None => None,
        };
        Ok(Self { rules, header })
    }

    /// Whether one of the rules is meant for this request of `client`.
    pub(crate) fn lets_pass<B>(&self, client: IpAddr, request: &Request<B>) -> bool {
        let Rules { paths, methods, from, user_agents, header: _ } = &self.rules;
        let has = |rule: &Option<Vec<String>>, value: &[u8]| {
            rule.iter().flatten().any(|wanted| wanted.as_bytes() == value)
        };
        let agent = || request.headers().get(USER_AGENT).map(HeaderValue::as_bytes);
        has(paths, request.uri().path().as_bytes())
            || has(methods, request.method().as_str().as_bytes())
            || from.iter().flatten().any(|range: &Cidr| range.contains(client))
            || (user_agents.is_some() && agent().is_some_and(|agent| has(user_agents, agent)))
            || self.has_token(request.headers())
    }

    /// In a time that does not depend on what is right of it.
    fn has_token(&self, headers: &HeaderMap) -> bool {
        self.header.as_ref().is_some_and(|(name, token)| {
            let mut values = headers.get_all(name).iter();
            let (value, further) = (values.next(), values.next());
            let token = token.reveal().as_bytes();
            further.is_none() && value.is_some_and(|value| value.as_bytes().ct_eq(token).into())
        })
    }

    /// A token is nobody's business behind the gate.
    pub(crate) fn strip_token(&self, headers: &mut HeaderMap) {
        if let Some((name, _)) = &self.header {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bypass, Rules};
    use crate::config::secret::Secret;
    use http::{HeaderName, Request};

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn rules(text: &str) -> Bypass {
        let rules: Rules = toml::from_str(text).unwrap();
        let name = rules.header.as_ref().map(|header| HeaderName::try_from(&header.name).unwrap());
        Bypass { rules, header: name.map(|name| (name, Secret::new(TOKEN))) }
    }

    fn passes(bypass: &Bypass, line: &str, headers: &[(&str, &str)]) -> bool {
        let [from, method, path] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        bypass.lets_pass(from.parse().unwrap(), &request.body(()).unwrap())
    }

    #[test]
    fn h13_a_rule_that_is_not_there_lets_nobody_pass() {
        let none = Bypass::default();
        for headers in [&[][..], &[("user-agent", "")], &[("x-token", "")]] {
            assert!(!passes(&none, "127.0.0.1 GET /", headers));
        }
        let others = rules("paths = [\"/up\"]");
        assert!(!passes(&others, "127.0.0.1 GET /", &[("user-agent", "")]));
    }

    #[test]
    fn each_rule_lets_pass_whom_it_names_and_nobody_else() {
        for (rule, named, others) in [
            (
                "paths = [\"/up\"]",
                "192.0.2.1 POST /up?x=1",
                ["192.0.2.1 GET /up/", "192.0.2.1 GET /UP"],
            ),
            ("methods = [\"GET\"]", "192.0.2.1 GET /", ["192.0.2.1 get /", "192.0.2.1 POST /"]),
            ("from = [\"10.0.0.0/8\"]", "10.1.2.3 POST /", ["11.0.0.1 GET /", "::1 GET /"]),
        ] {
            let bypass = rules(rule);
            assert!(passes(&bypass, named, &[]), "{rule}");
            for other in others {
                assert!(!passes(&bypass, other, &[]), "{rule}: {other}");
            }
        }
        let agents = rules("user_agents = [\"Probe/1.0 (ours)\"]");
        for (agent, is_named) in [
            ("Probe/1.0 (ours)", true),
            ("Probe/1.0", false),
            ("probe/1.0 (ours)", false),
            ("", false),
        ] {
            assert_eq!(passes(&agents, "::1 GET /", &[("user-agent", agent)]), is_named, "{agent}");
        }
        assert!(!passes(&agents, "::1 GET /", &[]));
    }

    #[test]
    fn a_token_is_sent_once_and_whole_and_ends_here() {
        let bypass = rules("header = { name = \"X-Pass\", token_file = \"/token\" }");
        let twice = [("x-pass", TOKEN), ("x-pass", TOKEN)];
        for (headers, is_right) in [
            (&[("x-pass", TOKEN)][..], true),
            (&[("X-PASS", TOKEN)], true),
            (&[("x-pass", TOKEN.trim_start_matches('0'))], false),
            (&[("x-pass", "")], false),
            (&[("x-other", TOKEN)], false),
            (&twice, false),
            (&[], false),
        ] {
            assert_eq!(passes(&bypass, "::1 GET /", headers), is_right, "{headers:?}");
        }
        let mut request = Request::get("/").header("x-pass", TOKEN).body(()).unwrap();
        bypass.strip_token(request.headers_mut());
        assert!(request.headers().is_empty());
    }
}
