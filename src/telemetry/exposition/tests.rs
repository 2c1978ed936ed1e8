//! What a page is, piece by piece.

use super::*;

struct Says(&'static str);

impl Exposed for Says {
    fn write(&self, out: &mut String) {
        out.push_str(self.0);
    }
}

struct Breaks;

impl Exposed for Breaks {
    fn write(&self, out: &mut String) {
        out.push_str("# TYPE half gauge\nhalf{");
        assert!(out.is_empty(), "a source with a defect");
    }
}

const OWN: &str = "# HELP a_total How \"often\".\n# TYPE a_total counter\na_total{x=\"}\"} 1\n\
    # HELP h How long.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";

fn text_of(sources: &[&dyn Exposed]) -> String {
    page(sources, Format::Text, 0).0
}

#[test]
fn the_format_is_the_one_that_is_liked_best() {
    use Format::{OpenMetrics, Text};
    let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let text_only = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, format) in [
        ("", Text),
        ("*/*", Text),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Text),
        ("application/json", Text),
        (prometheus_2, OpenMetrics),
        (prometheus_3, OpenMetrics),
        (text_only, Text),
        ("application/openmetrics-text", OpenMetrics),
        ("application/openmetrics-text; version=0.0.1", Text),
        ("application/openmetrics-text;q=0, text/plain;q=0.1", Text),
        ("application/openmetrics-text;q=0.4, text/plain;q=0.5", Text),
        ("text/plain;q=0.4, application/openmetrics-text;q=0.5", OpenMetrics),
        ("text/plain, application/openmetrics-text;q=nonsense", Text),
        ("application/openmetrics-text, */*", OpenMetrics),
        ("Application/OpenMetrics-Text; Version=\"1.0.0\"", OpenMetrics),
        ("*/*;q=0", Text),
        (";,;=,/", Text),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
}

#[test]
fn gzip_is_taken_by_whoever_says_so() {
    for yes in ["gzip", "deflate, GZIP;q=0.5", "*", "br;q=1.0, gzip;q=0.001"] {
        assert!(takes_gzip(yes), "{yes}");
    }
    for no in ["", "identity", "gzip;q=0", "*;q=0", "*, gzip;q=0.0", "x-gzip2"] {
        assert!(!takes_gzip(no), "{no}");
    }
}

#[test]
fn sources_without_a_common_family_follow_each_other_as_they_are() {
    let other = "# TYPE b gauge\nb 1\n";
    assert_eq!(text_of(&[&Says(OWN), &Says(other)]), format!("{OWN}{other}"));
    assert_eq!(text_of(&[]), "");
    assert_eq!(
        text_of(&[&Says("# TYPE b gauge\nb 1"), &Says("c 2\n")]),
        "# TYPE b gauge\nb 1\nc 2\n"
    );
}

#[test]
fn a_family_of_two_sources_is_on_the_page_once() {
    let more = "# HELP c C.\n# TYPE c gauge\nc 9\n# HELP a_total Else.\n# TYPE a_total counter\na_total{x=\"y\"} 2\n";
    let text = text_of(&[&Says(OWN), &Says(more)]);
    assert_eq!(text.matches("# TYPE a_total ").count(), 1, "{text}");
    assert!(text.contains("a_total{x=\"}\"} 1\na_total{x=\"y\"} 2\n"), "{text}");
    assert!(text.contains("# TYPE c gauge\nc 9\n") && text.contains("h_count 2\n"), "{text}");
    assert!(!text.contains("Else."), "{text}");

    let clash = "# TYPE h gauge\nh 1\n# TYPE d gauge\nd 1\n";
    let (text, left_out) = page(&[&Says(OWN), &Says(clash)], Format::Text, 0);
    assert_eq!((left_out, text.contains("\nh 1\n"), text.contains("\nd 1\n")), (1, false, true));
}

#[test]
fn a_source_that_panics_costs_its_own_families() {
    let text = text_of(&[&Says(OWN), &Breaks, &Says("# TYPE b gauge\nb 1\n")]);
    assert_eq!(text, format!("{OWN}# TYPE b gauge\nb 1\n"));
}

#[test]
fn open_metrics_has_its_own_names_times_and_end() {
    let rest = "# HELP DCGM_ENERGY mJ\n# TYPE DCGM_ENERGY counter\nDCGM_ENERGY{gpu=\"0\"} 7\n\
        # just a remark\n\nbare 1 1500\n";
    let (text, _) = page(&[&Says(OWN), &Says(rest)], Format::OpenMetrics, 0);
    assert_eq!(
        text,
        "# TYPE a counter\n# HELP a How \\\"often\\\".\na_total{x=\"}\"} 1\n\
         # TYPE h histogram\n# HELP h How long.\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\
         # TYPE DCGM_ENERGY unknown\n# HELP DCGM_ENERGY mJ\nDCGM_ENERGY{gpu=\"0\"} 7\n\
         # TYPE bare unknown\nbare 1 1.5\n# EOF\n"
    );
    assert_eq!(page(&[], Format::OpenMetrics, 0).0, "# EOF\n");
}

#[test]
fn what_does_not_fit_is_left_out_in_whole_families() {
    let large = "# TYPE big gauge\nbig{n=\"1\"} 1\nbig{n=\"2\"} 2\n";
    let small = "# TYPE s gauge\ns 1\n";
    for format in [Format::Text, Format::OpenMetrics] {
        let (text, left_out) = page_within(&[&Says(large), &Says(small)], format, (0, 30));
        assert_eq!((text.contains("big"), text.contains("s 1\n"), left_out), (false, true, 1));
    }
}
