//! The answers the gate gives itself, as a page for people or `application/problem+json`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::error_pages::ErrorPages;

/// What a client that was turned away is asked to wait: about the length of a swap.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);

/// Why the gate answers instead of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    BadRequest,
    /// Two readers could take it for different requests, or its body has no end.
    Ambiguous,
    BodyBrokeOff,
    UnknownHost,
    /// The control path is for others.
    NotFromHere,
    /// The app has no upstreams: a web server only asks.
    OnlyAsked,
    NotCarried,
    /// Held, and the line is full.
    LineFull,
    /// Held, and this client has its share of the line already.
    ShareFull,
    /// Held, and each one more takes a file that those in flight may need.
    FilesFull,
    /// Held as long as the app allows.
    HeldTooLong,
    /// Nobody renewed the hold, and the app rejects whoever is in line then.
    HoldExpired,
    Stopping,
    /// A hold has ended it.
    CutOff,
    UpstreamUnreachable,
    UpstreamBroke,
    UpstreamSlow,
}

/// In which form the client wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Html,
    Problem,
}

impl Page {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::Ambiguous => StatusCode::BAD_REQUEST,
            Self::BodyBrokeOff => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NotFromHere => StatusCode::FORBIDDEN,
            Self::OnlyAsked => StatusCode::NOT_FOUND,
            Self::NotCarried => StatusCode::NOT_IMPLEMENTED,
            Self::LineFull
            | Self::ShareFull
            | Self::FilesFull
            | Self::HeldTooLong
            | Self::HoldExpired
            | Self::CutOff
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamUnreachable | Self::UpstreamBroke => StatusCode::BAD_GATEWAY,
            Self::UpstreamSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The upstream's, not the client's or the gate's.
    pub(crate) const fn is_failure(self) -> bool {
        match self {
            Self::UpstreamUnreachable | Self::UpstreamBroke | Self::UpstreamSlow => true,
            Self::BadRequest
            | Self::Ambiguous
            | Self::BodyBrokeOff
            | Self::UnknownHost
            | Self::NotFromHere
            | Self::OnlyAsked
            | Self::NotCarried
            | Self::LineFull
            | Self::ShareFull
            | Self::FilesFull
            | Self::HeldTooLong
            | Self::HoldExpired
            | Self::CutOff
            | Self::Stopping => false,
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::BadRequest => "The request does not name its host, or not one alone.",
            Self::Ambiguous => "The request is malformed, or can be read in two ways.",
            Self::BodyBrokeOff => "The request broke off before it was complete.",
            Self::UnknownHost => "No site of this name is served here.",
            Self::NotFromHere => "This is not served to where you are.",
            Self::OnlyAsked => "Nothing is served here.",
            Self::NotCarried => "This kind of connection is not supported here.",
            Self::LineFull | Self::FilesFull => {
                "Too many requests are waiting. Please try again in a moment."
            }
            Self::ShareFull => {
                "Too many requests from your address are waiting. Please try again in a moment."
            }
            Self::HeldTooLong | Self::HoldExpired | Self::Stopping => {
                "This takes longer than it should. Please try again in a moment."
            }
            Self::CutOff => {
                "This took too long and was broken off. Please check before you repeat."
            }
            Self::UpstreamUnreachable => "The site cannot be reached at the moment.",
            Self::UpstreamBroke => "The site broke off its answer. Please check before you repeat.",
            Self::UpstreamSlow => {
                "The site did not answer in time. Please check before you repeat."
            }
        }
    }

    /// With the page of `pages` for its status, if there is one.
    pub(crate) fn response(self, form: Form, pages: &ErrorPages) -> Response<Full<Bytes>> {
        let status = self.status();
        let html = || pages.get(status).unwrap_or_else(|| self.html().into());
        let (kind, body) = match form {
            Form::Html => ("text/html; charset=utf-8", html()),
            Form::Problem => ("application/problem+json", self.problem().into()),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_DEFAULT.as_secs()));
        }
        response
    }

    fn problem(self) -> String {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or_default();
        let detail = self.detail();
        json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail })
            .to_string()
    }

    fn html(self) -> String {
        let title = self.status().canonical_reason().unwrap_or_default();
        let detail = self.detail();
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\n\
             <body style=\"font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;\
             padding:0 1rem\">\n<h1>{title}</h1>\n<p>{detail}</p>\n</body></html>\n"
        )
    }
}

/// The answer to a web server that asked: the request may go on.
pub(crate) fn may_go_on() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to who asks whether the gate is there.
pub(crate) fn here() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from("ok\n"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Form {
    /// A browser asks for HTML by name; whoever asks for JSON and not for HTML is a program.
    pub(crate) fn preferred(request: &HeaderMap) -> Self {
        let accepts = |kind: &str| {
            let mut values = request.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
            values.any(|value| value.contains(kind))
        };
        if accepts("json") && !accepts("text/html") { Self::Problem } else { Self::Html }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::{ErrorPages, Form, Page};

    #[test]
    fn programs_get_problem_json_people_get_html() {
        let mut headers = HeaderMap::new();
        headers.insert("accept", "application/json".parse().unwrap());
        let response =
            Page::HeldTooLong.response(Form::preferred(&headers), &ErrorPages::default());
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "5");
        headers.insert("accept", "text/html,application/json".parse().unwrap());
        let response =
            Page::UpstreamBroke.response(Form::preferred(&headers), &ErrorPages::default());
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert!(!response.headers().contains_key("retry-after"));
    }
}
