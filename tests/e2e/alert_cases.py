"""What each alert rule of haproxy/observe/alerts.yml is for: series over which it fires, and others, near them, over which it does not."""

from dataclasses import dataclass, field

AGENT = {"job": "tollgate", "instance": "a"}


def series(metric, values, agent=AGENT, **labels):
    """One line of promtool's input_series: a value a minute."""
    text = ",".join(f'{name}="{value}"' for name, value in {**agent, **labels}.items())
    return {"series": f"{metric}{{{text}}}", "values": values}


@dataclass
class Case:
    alert: str
    minute: int  # when it is looked at
    input: list
    summary: str = ""  # of the alert that fires; none: it does not
    labels: dict = field(default_factory=dict)  # beside the agent's and severity
    agent: dict = field(default_factory=lambda: AGENT)


def buckets(slow):
    """A hundred decisions a minute, all of them within 0.25 s; within 0.1 s those that are not slow."""
    rates = {"0.05": 0, "0.1": 100 - slow, "0.25": 100, "+Inf": 100}
    return [series("tollgate_overhead_seconds_bucket", f"0+{rate}x40", stage="all", le=le) for le, rate in rates.items()]


def attempts(**rates):
    return [
        series("tollgate_attempts_total", f"0+{rate}x20", tollgate_group="alpha", outcome=outcome)
        for outcome, rate in rates.items()
    ]


CERTIFICATE = {"file": "/etc/a.pem", "role": "certificate"}


def certificate(days, role="certificate"):
    """One that ends so long after promtool's time began."""
    return series("tollgate_certificate_expiry_timestamp_seconds", f"{int(days * 86400)}+0x130", **{**CERTIFICATE, "role": role})


ONCE, NEVER = "5+0x4 6+0x90", "6+0x90"  # a counter that grew in minute 5, and one that did not
LIMIT = {"limit": "team-month", "subject": "team=red", "window": "month"}
MINUTE = {**LIMIT, "window": "minute"}
TARGET = {"provider": "alpha", "model": "m"}
KEY = {"credential": "c", "key": "1"}
ISSUER = {"issuer": "corp"}


def used(values, labels=LIMIT):
    return series("tollgate_limit_used_ratio", values, **labels)


def forecast(values, labels=LIMIT):
    return series("tollgate_limit_forecast_ratio", values, **labels)


def scraped(values="1+0x90"):
    return series("tollgate_build_info", values, version="1")


CASES = [
    Case("TollgateDown", 8, [series("up", "1 1 1 0+0x9")], "The agent a cannot be scraped"),
    Case("TollgateDown", 8, [], "No agent is scraped", agent={"job": "tollgate"}),
    Case("TollgateDown", 8, [series("up", "0 0 0 1+0x9"), series("up", "0+0x9", {"job": "other", "instance": "b"})]),
    Case("TollgateRestarts", 10, [series("tollgate_start_time_seconds", "1 1 2 2 3 3 4+0x9")],
         "The agent a started 3 times in 15 minutes"),
    Case("TollgateRestarts", 10, [series("tollgate_start_time_seconds", "1 1 2 2 3+0x9")]),
    Case("TollgateConfigurationRejected", 8, [series("tollgate_config_last_reload_successful", "1 0+0x9")],
         "a runs on an older configuration than its file's"),
    Case("TollgateConfigurationRejected", 8, [series("tollgate_config_last_reload_successful", "0 0 0 0 1 0+0x9")]),
    Case("TollgateSlow", 30, buckets(slow=100), "One decision in a hundred takes 248.5ms on a", agent={"instance": "a"}),
    Case("TollgateSlow", 30, buckets(slow=0)),
    Case("TollgateClockStepped", 10, [series("tollgate_clock_steps_total", ONCE)],
         "The wall clock of a was set by more than a second"),
    Case("TollgateClockStepped", 30, [series("tollgate_clock_steps_total", ONCE)]),
    Case("TollgateLedgerFailing", 4, [series("tollgate_ledger_failing", "0 0 1+0x9")],
         "a cannot write its ledger and refuses requests"),
    Case("TollgateLedgerFailing", 4, [series("tollgate_ledger_failing", "1 1 0+0x9")]),
    Case("TollgateLedgerLag", 4, [series("tollgate_ledger_lag_seconds", "0 3+0x9")],
         "The oldest operation on a has waited 3s for its commit"),
    Case("TollgateLedgerLag", 4, [series("tollgate_ledger_lag_seconds", "3 3 2+0x9")]),
    Case("TollgateLedgerOperationsLost", 10, [series("tollgate_ledger_lost_operations_total", ONCE)],
         "a gave up operations of its ledger"),
    Case("TollgateLedgerOperationsLost", 10, [series("tollgate_ledger_lost_operations_total", NEVER)]),
    Case("TollgateSettlementsMissing", 10, [series("tollgate_holds_expired_total", ONCE)],
         "a charged holds in full, as their settlement records never came"),
    Case("TollgateSettlementsMissing", 10, [series("tollgate_holds_expired_total", NEVER)]),
    Case("TollgateSettlementsUnknown", 12, [series("tollgate_unknown_records_total", ONCE)],
         "a dropped settlement records of requests it does not know"),
    Case("TollgateSettlementsUnknown", 12, [series("tollgate_unknown_records_total", NEVER)]),
    Case("TollgateBudgetExhausted", 4, [used("0.9 1+0x9")], "team=red has used all of limit team-month", LIMIT),
    Case("TollgateBudgetExhausted", 4, [used("0.99+0x9"), used("1+0x9", MINUTE)]),
    Case("TollgateBudgetForecast", 20, [forecast("1.2+0x30"), used("0.3+0x30")],
         "team=red will use 120% of limit team-month at this pace", LIMIT),
    # Too early to tell, within the limit, and used up: that is another alert.
    Case("TollgateBudgetForecast", 20, [forecast("1.2+0x30"), used("0.1+0x30")]),
    Case("TollgateBudgetForecast", 20, [forecast("1+0x30"), used("0.3+0x30")]),
    Case("TollgateBudgetForecast", 20, [forecast("2+0x30"), used("1+0x30")]),
    Case("TollgateBudgetForecast", 20, [forecast("2+0x30", MINUTE), used("0.3+0x30", MINUTE)]),
    Case("TollgateBudgetBurn", 80, [scraped(), used("0.125+0x60 0.5+0x30")],
         "team=red used 37.5% of limit team-month within an hour", LIMIT),
    # A window that began since, and an account that is new.
    Case("TollgateBudgetBurn", 80, [scraped(), used("0.9+0x60 0.5+0x30")],
         "team=red used 50% of limit team-month within an hour", LIMIT),
    Case("TollgateBudgetBurn", 80, [scraped(), used("_x60 0.5+0x30")],
         "team=red used 50% of limit team-month within an hour", LIMIT),
    Case("TollgateBudgetBurn", 80, [scraped(), used("0.125+0x60 0.375+0x30")]),
    Case("TollgateBudgetBurn", 80, [scraped(), used("0.9+0x60 0.25+0x30")]),
    Case("TollgateBudgetBurn", 80, [scraped("_x60 1+0x30"), used("_x60 0.5+0x30")]),
    Case("TollgateAlertsDropped", 10, [series("tollgate_alerts_total", ONCE, result="dropped")],
         "a gave up threshold alerts", {"result": "dropped"}),
    Case("TollgateAlertsDropped", 10, [series("tollgate_alerts_total", NEVER, result="dropped"),
                                       series("tollgate_alerts_total", ONCE, result="raised")]),
    Case("TollgateAlertsFailing", 30, [series("tollgate_alerts_total", "0+1x40", result="failed"),
                                       series("tollgate_alerts_total", "0+0x40", result="sent")],
         "a cannot deliver threshold alerts", {"result": "failed"}),
    Case("TollgateAlertsFailing", 30, [series("tollgate_alerts_total", "0+1x40", result="failed"),
                                       series("tollgate_alerts_total", "0+1x40", result="sent")]),
    Case("TollgateBreakerOpen", 10, [series("tollgate_route_state", "0 0 2 2 1 2 1 2 2 2 2 2", **TARGET)],
         "alpha's m has been out of service for 5 minutes", TARGET),
    Case("TollgateBreakerOpen", 10, [series("tollgate_route_state", "2 2 1 0 2 2 0 2 2 2 2 2", **TARGET)]),
    Case("TollgateProviderFailing", 15, attempts(ok=5, error=2, cut=1), "37.5% of the tries at alpha fail",
         {"tollgate_group": "alpha"}, agent={"instance": "a"}),
    Case("TollgateProviderFailing", 15, attempts(ok=9, error=1, client_abort=5, stopped=5)),
    Case("TollgateProviderKeyInvalid", 8, [series("tollgate_credential_valid", "1 0+0x9", **KEY)],
         "Provider key c[1] has no valid value", KEY),
    Case("TollgateProviderKeyInvalid", 8, [series("tollgate_credential_valid", "0 0 0 1+0x9", **KEY)]),
    Case("TollgateProviderKeyRefused", 20, [series("tollgate_credential_set_aside", "0 1+0x30", **KEY)],
         "Provider key c[1] has been refused or throttled for 15 minutes", KEY),
    Case("TollgateProviderKeyRefused", 20, [series("tollgate_credential_set_aside", "1+0x8 0 1+0x30", **KEY)]),
    Case("TollgateTracesLost", 15, [series("tollgate_trace_spans_total", ONCE, result="dropped")],
         "a loses spans (dropped)", {"result": "dropped"}),
    Case("TollgateTracesLost", 15, [series("tollgate_trace_spans_total", NEVER, result="failed"),
                                    series("tollgate_trace_spans_total", ONCE, result="exported")]),
    Case("TollgateCertificateEnds", 120, [certificate(13)], "/etc/a.pem ends in 12d 22h 0m 0s", CERTIFICATE),
    Case("TollgateCertificateEnds", 120, [certificate(15)]),
    Case("TollgateCertificateEnds", 120, [certificate(0.05)]),  # that is another alert
    Case("TollgateCertificateEnds", 120, [certificate(1, "crl")]),  # lists are short-lived
    Case("TollgateCertificateEnded", 120, [certificate(0.05)], "/etc/a.pem (certificate) is out of date", CERTIFICATE),
    Case("TollgateCertificateEnded", 120, [certificate(0.05, "crl")], "/etc/a.pem (crl) is out of date", {**CERTIFICATE, "role": "crl"}),
    Case("TollgateCertificateEnded", 120, [certificate(13), certificate(1, "crl")]),
    Case("TollgateIssuerUnusable", 8, [series("tollgate_identity_usable", "1 0+0x9", **ISSUER)],
         "The people of corp get 503", ISSUER),
    Case("TollgateIssuerUnusable", 8, [series("tollgate_identity_usable", "0 0 0 1+0x9", **ISSUER)]),
    Case("TollgateIssuerKeysOld", 10, [series("tollgate_identity_keys_age_seconds", "14401+60x20", **ISSUER)],
         "The keys of corp are 4h 10m 1s old", ISSUER),
    Case("TollgateIssuerKeysOld", 10, [series("tollgate_identity_keys_age_seconds", "0+60x20", **ISSUER)]),
]


def promtool_tests(file, rules):
    """Input of `promtool test rules`. `rules`: by name, as Prometheus' API tells them; severity and description are constants there."""

    def test(case):
        expected = []
        if case.summary:
            rule = rules[case.alert]
            texts = {"summary": case.summary, "description": rule["annotations"]["description"]}
            expected = [{"exp_labels": {**case.agent, **case.labels, **rule["labels"]}, "exp_annotations": texts}]
        looked = {"eval_time": f"{case.minute}m", "alertname": case.alert, "exp_alerts": expected}
        return {"interval": "1m", "input_series": case.input, "alert_rule_test": [looked]}

    return {"rule_files": [str(file)], "evaluation_interval": "15s", "tests": [test(case) for case in CASES]}
