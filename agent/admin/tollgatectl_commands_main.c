#include "admin/tollgatectl_commands.h"

#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"

#include <string.h>

#define LEDGER { "--ledger", "FILE", "the ledger's file, or an archive" }
#define CONFIG { "--config", "FILE", "the agent's configuration: says where ledger and socket are" }
#define SOCKET { "--socket", "FILE", "the agent's admin socket; default: the configuration's, or /run/tollgate/admin.sock" }
#define FORMAT { "--format", "table|csv|json", "how to print" }
#define JSON { "--json", NULL, "print JSON" }
#define FROM { "--from", "DATE", "the first day (2026-11-23) or month (2026-11), UTC; default: this month" }
#define TO { "--to", "DATE", "the last day or month, included" }
#define STATUS_PLAIN "0 done, 1 failed, 2 wrong usage"
#define STATUS_REFUSED "0 done, 1 failed or refused, 2 wrong usage"

const struct ctl_command ctl_commands[] = {
    { .name = "status", .summary = "the agent, its ledger, its issuers", .forms = { "[--config FILE | --socket FILE] [--json]" },
      .options = { CONFIG, SOCKET, JSON }, .status = "0 it answered, 1 it did not, 2 wrong usage", .run = ctl_status },
    { .name = "budget", .summary = "every account: used, held, left, when it resets", .forms = { "[--config FILE | --socket FILE] [--json]" },
      .options = { CONFIG, SOCKET, JSON }, .status = STATUS_PLAIN, .run = ctl_budget },
    { .name = "doctor", .summary = "check everything tollgate stands on, and say what to do about what is not well",
      .forms = { "[HAPROXY.CFG]... [--config FILE] [--socket FILE] [--haproxy-program FILE] [--offline] [--json]" },
      .about = "Looks at: the configuration; the agent, its connection to HAProxy, its ledger, keys and issuers; HAProxy's version and files (as tollgate "
               "check --haproxy and haproxy -c do); sockets and their modes; the clock, against the kernel and the issuers' and providers' own; disk, "
               "inodes and integrity of the ledger; certificates; issuers and providers by name, connection, TLS and answer; prices; modes of files "
               "with secrets. Nothing is changed, and no credential is sent. Each finding that is not well comes with its fix. Works without an agent.\n\n"
               "HAPROXY.CFG are your own files in the order HAProxy loads them; default: /etc/haproxy/haproxy.cfg. The configuration is --config, else the "
               "agent's, else /etc/tollgate/tollgate.yaml.",
      .options = { CONFIG, SOCKET, { "--haproxy-program", "FILE", "default: haproxy" },
                   { "--offline", NULL, "leave out what needs the network: issuers and providers" }, JSON },
      .status = "0 all is well, 1 warnings, 2 failures, or wrong usage", .run = ctl_doctor },
    { .name = "top", .summary = "the last minute, live: requests, spend, latencies, holds, breakers, limits",
      .forms = { "[--by team|model|target|user] [--sort COLUMN] [-n SECONDS] [-b] [--once | --count N] [--json] [--config FILE | --socket FILE]" },
      .about = "Rates are those of the last 60 to 70 seconds, percentiles are within 10 %. FAILED are requests that were passed on and did not end well. "
               "Keys: q quits; t, m, g, u show teams, models, targets, users; c, r, d, l sort by cost, requests, denied, latency. Into a pipe or on a "
               "dumb terminal it prints screen after screen. NO_COLOR turns colours off.",
      .options = { { "--by", "team|model|target|user", "what the rows are; default: team" },
                   { "--sort", "cost|requests|denied|ttft", "which rows come first; default: cost" },
                   { "-n", "SECONDS", "between two refreshes, 0.1 to 3600; default: 2" }, { "-b", NULL, "batch: print, take no keys" },
                   { "--once", NULL, "print one screen" }, { "--count", "N", "print N screens" }, CONFIG, SOCKET, JSON },
      .status = "0 done, 1 the agent did not answer, 2 wrong usage", .run = ctl_top },
    { .name = "tail", .summary = "follow decisions and settlements as they happen",
      .forms = { "[--team NAME] [--user NAME] [--model NAME] [--provider NAME] [--request ID] [--event KIND] [--outcome WORD] [--min-cost AMOUNT] "
                 "[--since TIME] [--count N] [--follow] [--json] [--config FILE | --socket FILE]" },
      .about = "A line for each decision and each settlement, with the request's id. The agent remembers its last 8,192 events; whoever reads slower "
               "than they come is told how many were lost, and no decision waits. What --since asks for beside these comes from the ledger: requests "
               "that have a row there, without trace id and clamped, those that took longer than an hour not. With --json a line is an object with the members of the log's "
               "lines, {\"event\":\"lost\",\"count\":N} for what was lost.\n\nIt ends when the agent stops; with --follow it waits for the agent and goes on.",
      .options = { { "--team", "NAME", "only this team's" }, { "--user", "NAME", "only this user's" },
                   { "--model", "NAME", "only this model, as clients ask for it or as it served" }, { "--provider", "NAME", "only this provider, by its name in the price table" },
                   { "--request", "ID", "only this request" }, { "--event", "allowed|denied|answered|settled|corrected", "only this kind" },
                   { "--outcome", "WORD", "only what was refused for this reason (budget), or ended so (ok, client_abort, provider_error)" },
                   { "--min-cost", "AMOUNT", "only settlements that cost at least so much ($0.05)" },
                   { "--since", "TIME", "begin so long ago (10m), or at a moment (2026-11-23T14:30, UTC); default: now" },
                   { "--count", "N", "end after N lines" }, { "--follow", NULL, "when the agent is away, wait for it" }, CONFIG, SOCKET, JSON },
      .status = "0 all lines of --count were printed, 1 no agent, or it has stopped, 2 wrong usage", .run = ctl_tail },
    { .name = "tokens", .summary = "what providers' reported input tokens taught about our counts", .forms = { "[--config FILE | --socket FILE] [--json]" },
      .options = { CONFIG, SOCKET, JSON }, .status = STATUS_PLAIN, .run = ctl_tokens },
    { .name = "reload", .summary = "read the configuration again, as SIGHUP does", .forms = { "[--config FILE | --socket FILE] [--json]" },
      .about = "The answer says that the reload has started; the agent's log says how it went.", .options = { CONFIG, SOCKET, JSON },
      .status = STATUS_PLAIN, .run = ctl_reload },
    { .name = "ping", .summary = "is it there?", .forms = { "[--config FILE | --socket FILE] [--json]" }, .options = { CONFIG, SOCKET, JSON },
      .status = "0 it answered, 1 it did not, 2 wrong usage", .run = ctl_ping },
    { .name = "count", .summary = "what the gateway would count and hold for a request body; nothing is sent",
      .forms = { "[--config FILE] [--endpoint NAME] [--team NAME] [--organization NAME] [--json] [BODY]", "--raw [--encoding NAME] [--path NAME] [--no-cache] [TEXTS]" },
      .about = "Prints the tokens part by part, and what would be held: for the target it would go to or the fallback, whichever is dearer, "
               "by the configuration's prices and with what its ledger has learned of the model. --team and --organization say who asks: "
               "contract prices and targets may depend on it. Access rules and limits, which may refuse or lower, are not looked at. BODY is a file; without one, or with -, standard input.\n\n--raw counts "
               "NUL-separated texts, one count a line.",
      .options = { CONFIG, { "--endpoint", "NAME", "chat, responses, completions, embeddings, messages, or the request's path; default: chat" },
                   { "--team", "NAME", "the team that asks" }, { "--organization", "NAME", "the organization that asks" },
                   { "--encoding", "o200k_base|cl100k_base|p50k_base|r50k_base|o200k_harmony", "the tokenizer; default: the model's, with --raw o200k_base" },
                   { "--raw", NULL, "count plain texts" },
                   { "--path", "avx512|avx2|sse2|neon|portable", "with --raw: the code that counts; default: the fastest of this machine" },
                   { "--no-cache", NULL, "with --raw: remember nothing between texts" }, JSON },
      .status = STATUS_PLAIN, .run = ctl_count },
    { .name = "report", .summary = "spending, burn rate, movers, anomalies, savings, FOCUS export; from the ledger's file",
      .forms = { "[--ledger FILE | --config FILE] [--kind KIND] [--by DIMENSION,...] [--from DATE] [--to DATE] [--at TIME] [--factor N] "
                 "[--top N] [--format table|csv|json|focus]" },
      .about = "Kinds: spend, what was spent (the default); burn, spent so far today, this week, this month, and the forecast to each "
               "window's end; movers, the last 7 days against the 7 before, the largest change first; anomalies, requests that cost N times "
               "the median of their team and model in that month (both rounded down to two digits); savings, saved by providers' prompt caches (the columns of an answer cache are 0: there is none), and requests rescued "
               "by fallback.\n\nReads the ledger's file, whether the agent runs or not. Every figure is an exact integer sum; JSON carries "
               "nano-dollars.",
      .options = { LEDGER, CONFIG, { "--kind", "spend|burn|movers|anomalies|savings", "what to report" },
                   { "--by", "DIMENSION,...", "team (default), model, cost_center, user, app, organization, provider, provider_key, day, month" }, FROM, TO,
                   { "--at", "TIME", "burn and movers as of this moment (2026-11-23T14:30, UTC); default: now" },
                   { "--factor", "N", "anomalies: how many times the median; default 10" },
                   { "--top", "N", "movers, anomalies: the first N; 0: all. Default: all movers, 1000 anomalies" },
                   { "--format", "table|csv|json|focus", "how to print; focus: FOCUS 1.2, CSV, a row for each day, account and model" }, JSON },
      .status = STATUS_PLAIN, .run = ctl_report },
    { .name = "prices", .summary = "the price table in force; what another one would change", .words = "list|import",
      .forms = { "list [MODEL] [--ledger FILE | --config FILE] [--format table|csv|json]",
                 "import FILE [--dry-run] [--ledger FILE | --config FILE] [--format table|csv|json]" },
      .about = "list prints the table in force; MODEL: only models whose name contains it. import checks FILE (models.dev or LiteLLM format) "
               "and shows what differs from the table in force; then, without --dry-run, how to put it in force. Nothing is changed: the "
               "configuration's prices.file and prices.scheduled decide.\n\nIn force is the ledger's active version; without a ledger, the configuration's table "
               "or the built-in one.",
      .options = { LEDGER, CONFIG, SOCKET, { "--dry-run", NULL, "only show the differences" }, FORMAT, JSON }, .status = STATUS_PLAIN,
      .run = ctl_prices },
    { .name = "reprice", .summary = "book what another price table makes of past requests, as corrections",
      .forms = { "[--from DATE] [--to DATE] [--prices FILE] [--dry-run] [--ledger FILE | --config FILE] [--socket FILE] "
                 "[--format table|csv|json]" },
      .about = "What the table in force (or the one FILE would make) changes in the cost of past requests, by model. Without --dry-run the "
               "differences are booked as corrections, rows of their own with the reason \"repriced\"; nothing is edited, and running it "
               "again finds nothing left to do. To be booked, a table must have been in force once, so that the rows can name its version. "
               "Requests whose usage is not known (bounded) keep their cost. Differences to closed months count for the open month. Budgets "
               "of a running agent take them in when it starts again.",
      .options = { LEDGER, CONFIG, SOCKET, FROM, TO, { "--prices", "FILE", "another price table" },
                   { "--dry-run", NULL, "only show the differences" }, FORMAT, JSON },
      .status = STATUS_PLAIN, .run = ctl_reprice },
    { .name = "close-month", .summary = "freeze a month", .forms = { "YYYY-MM [--ledger FILE | --config FILE] [--socket FILE] [--json]" },
      .about = "Freezes the month (UTC) and everything before it: what becomes known later is booked into the month that is open then. Refused "
               "while requests of that time are open. Goes through the agent when one keeps the ledger.",
      .options = { LEDGER, CONFIG, SOCKET, JSON }, .status = "0 done or closed already, 1 refused, 2 wrong usage", .run = ctl_close_month },
    { .name = "invoice", .summary = "a provider's usage or cost export against the ledger", .words = "check",
      .forms = { "check FILE.csv [--provider NAME] [--time-zone ZONE] [--keys THEIRS=OURS,...] [--ledger FILE | --config FILE] [--format table|csv|json]" },
      .about = "Compares a provider's export with the ledger by day, model and key, for the days FILE covers, and says what explains each difference: "
               "rows that only one side has, requests whose usage never came or came late, another price, a contract, cached tokens, rounding, days "
               "that begin elsewhere. FILE is what OpenAI (completions usage, costs) or Anthropic (usage, cost) export, or CSV with the headings date, "
               "model, key, input_tokens (cached ones included), cached_tokens, output_tokens, requests, cost (USD): the first two, and tokens or cost, "
               "in any order. Keys are matched by the name they have in the configuration, when the file has any of those names or ids. Dates in a "
               "model's name (gpt-4o-2024-11-20), a vendor in front and case are left out on both sides. Costs match when they differ by less than one "
               "unit of the last decimal of each line.",
      .options = { LEDGER, CONFIG, { "--provider", "NAME", "the provider whose export it is (its name in the price table)" },
                   { "--time-zone", "ZONE", "where the days of FILE begin at midnight (default UTC)" },
                   { "--keys", "THEIRS=OURS,...", "what the ledger calls the file's keys" }, FORMAT, JSON },
      .status = "0 all matches, 1 there are differences or it failed, 2 wrong usage", .run = ctl_invoice },
    { .name = "archive", .summary = "move old rows into another file while traffic runs",
      .forms = { "--before YYYY-MM --to FILE [--ledger FILE | --config FILE] [--socket FILE] [--json]",
                 "--status [--config FILE | --socket FILE] [--json]", "--upgrade FILE" },
      .about = "Moves requests that started before the month (UTC), with their attempts and corrections, into FILE: made, or added to. Sums "
               "stay, so reports of old months keep working. Through the agent when one keeps the ledger: it goes on in the background while "
               "traffic runs, and --status says how far it is. Interrupted, run it again: every row is in one of the files, or in both until "
               "then. Open requests stay. Archives of an older tollgate are read after --upgrade.",
      .options = { { "--before", "YYYY-MM", "the first month that stays" }, { "--to", "FILE", "the archive" },
                   { "--status", NULL, "how far a running one is" }, { "--upgrade", "FILE", "an archive whose schema is older than this program's" }, LEDGER, CONFIG, SOCKET, JSON },
      .status = "0 done or started, 1 failed or refused, 2 wrong usage", .run = ctl_archive },
    { .name = "request", .summary = "find a request by the id its client got",
      .forms = { "ID [--day DATE] [--ledger FILE | --config FILE] [--format table|csv|json]" },
      .about = "Prints the request and its tries at providers, each with the provider's own id of it, which its support asks for. Looks through that day "
               "or month (UTC), without --day through the last 31 days, newest first. --ledger may name an archive.",
      .options = { { "--day", "DATE", "a day (2026-11-23) or a month (2026-11), UTC" }, LEDGER, CONFIG, FORMAT, JSON },
      .status = "0 found, 1 not found or failed, 2 wrong usage", .run = ctl_request },
    { .name = "audit", .summary = "what was done to the agent, by whom; whether that record is whole", .words = "verify|list",
      .forms = { "verify [--head HASH] [--config FILE | --file FILE] [--json]", "list [--config FILE | --file FILE] [--format table|csv|json]" },
      .about = "The audit log is a file that is only added to; each line carries the SHA-256 of the one before. verify follows that chain: a "
               "line that was changed, taken out or put in breaks it, and is named. Lines cut off at the end break nothing: keep the last "
               "hash elsewhere (each is in the agent's log as well) and look for it with --head. list prints the entries up to the first "
               "that is not as it was written.",
      .options = { { "--head", "HASH", "an entry that must be there" }, { "--file", "FILE", "the audit log; default: audit.log beside the ledger" },
                   CONFIG, FORMAT, JSON },
      .status = "0 it is whole, 1 it is not or cannot be read, 2 wrong usage", .run = ctl_audit },
    { .name = "route", .summary = "circuit breakers: show them, set a target aside, take it back", .words = "status|drain|enable",
      .forms = { "status [TARGET] [--config FILE | --socket FILE] [--json]", "drain TARGET [--config FILE | --socket FILE] [--json]",
                 "enable TARGET [--config FILE | --socket FILE] [--json]" },
      .about = "A target is PROVIDER/MODEL, or PROVIDER for all its models. A drained one gets no more requests, unless no other target is "
               "left; those under way go on. enable takes it back and closes its circuit breaker. Both are on disk before the command ends.",
      .options = { CONFIG, SOCKET, JSON }, .status = STATUS_REFUSED, .run = ctl_route },
    { .name = "revoke", .summary = "refuse a subject, token, team, gateway key, session or certificate from the next request on",
      .words = "subject|token|team|key|session|certificate",
      .forms = { "subject|token|team|key|session|certificate VALUE [--issuer URL] [--for 12h] [--note TEXT] [--config FILE | --socket FILE] [--json]",
                 "token|certificate --file FILE [--config FILE | --socket FILE] [--json]" },
      .about = "Refuses from the next request on, on every worker, also what was verified before; requests under way go on. A subject is the "
               "token's `sub` or the user it is mapped to; a token its `jti`, or sha256:DIGEST of the whole token, which --file computes; a certificate "
               "its SHA-256 in hexadecimal, which --file computes from PEM. The "
               "change is on disk, with who made it (table access_event), before the command ends.",
      .options = { { "--issuer", "URL", "only this issuer's; default: every issuer's" },
                   { "--for", "DURATION", "for how long (30s, 15m, 2h, 7d); default: until it is taken back" },
                   { "--note", "TEXT", "why; kept with it" }, { "--file", "FILE", "the token or certificate; - is standard input; it goes nowhere" }, CONFIG,
                   SOCKET, JSON },
      .status = STATUS_REFUSED, .run = ctl_revoke },
    { .name = "unrevoke", .summary = "take a revocation back", .words = "subject|token|team|key|session|certificate",
      .forms = { "subject|token|team|key|session|certificate VALUE [--issuer URL] [--config FILE | --socket FILE] [--json]" },
      .about = "With the values it was made with. On disk and in force before the command ends.",
      .options = { { "--issuer", "URL", "the issuer it was made for" }, CONFIG, SOCKET, JSON }, .status = STATUS_REFUSED, .run = ctl_unrevoke },
    { .name = "revocations", .summary = "what is revoked, since when, by whom",
      .forms = { "[--config FILE | --socket FILE] [--format table|csv|json]" }, .options = { CONFIG, SOCKET, FORMAT, JSON },
      .status = STATUS_PLAIN, .run = ctl_revocations },
    { .name = "key", .summary = "gateway keys for machines: create, list, rotate, revoke", .words = "create|list|rotate|revoke",
      .forms = { "create NAME --team TEAM [--user NAME] [--application NAME] [--cost-center NAME] [--organization NAME] [--groups A,B] "
                 "[--models A,B] [--endpoints A,B] [--budget AMOUNT] [--for 90d] [--config FILE | --socket FILE]",
                 "list [--config FILE | --socket FILE] [--format table|csv|json]",
                 "rotate ID [--overlap 24h] [--for 90d] [--config FILE | --socket FILE]",
                 "revoke ID [--note TEXT] [--config FILE | --socket FILE]" },
      .about = "create and rotate print the key on standard output, once; only a keyed hash of it is kept. It is sent as `Authorization: "
               "Bearer` or x-api-key. Every change is on disk, with who made it (table access_event), and in force on every worker before "
               "the command ends.\n\nrotate makes a new key with the same name, rights and account; the old one is accepted for the overlap.",
      .options = { { "--team", "NAME", "whose spending it is" }, { "--user", "NAME", "default: the key's name" },
                   { "--application", "NAME", "as of a token" }, { "--cost-center", "NAME", "as of a token" },
                   { "--organization", "NAME", "as of a token" }, { "--groups", "A,B", "as of a token; for access rules" },
                   { "--models", "A,B", "what it may ask for; a * at the end stands for any ending; default: everything" },
                   { "--endpoints", "A,B", "of chat, responses, completions, embeddings, messages, passthrough; default: all" },
                   { "--budget", "AMOUNT", "its own: \"$50 per month\", \"1.5M tokens per day\", \"1000 requests per hour\"; UTC" },
                   { "--for", "DURATION", "how long it lasts, or never; create: 365d, rotate: as long again" },
                   { "--overlap", "DURATION", "how long the old key is still accepted; default: 24h; after a leak: 0s" },
                   { "--note", "TEXT", "why; kept with the revocation" }, CONFIG, SOCKET, FORMAT, JSON },
      .status = STATUS_REFUSED, .run = ctl_key },
    { .name = "explain", .summary = "what would be decided about a request, by which rule, and why; nothing is sent",
      .forms = { "--token FILE|--certificate FILE --model NAME [--endpoint NAME] [--address IP] [--prompt N] [--at TIME] [--config FILE | --socket FILE] "
                 "[--json]" },
      .about = "Who the token, gateway key or client certificate in FILE is taken for; which access rule lets the request pass, or what the rules would let pass "
               "instead; where it would go; which limits it would meet, and what is left of them.",
      .options = { { "--token", "FILE", "a token or gateway key; - is standard input; it is kept nowhere" },
                   { "--certificate", "FILE", "a client certificate (PEM), taken as verified by HAProxy; alone, or beside a token" },
                   { "--model", "NAME", "as clients ask for it" },
                   { "--endpoint", "chat|responses|completions|embeddings|messages|passthrough", "default: chat" },
                   { "--address", "IP", "where the client asks from; default: 127.0.0.1" },
                   { "--prompt", "N", "tokens of its prompt, for access rules and context windows; default: not looked at" },
                   { "--at", "TIME", "as of this moment (2026-11-23T14:30, UTC); default: now" }, CONFIG, SOCKET, JSON },
      .status = "0 it would pass identity, access rules and route, 1 it would be refused or cannot be told, 2 wrong usage", .run = ctl_explain },
    { .name = "completion", .summary = "print the completion script for a shell", .forms = { "bash" }, .words = "bash",
      .about = "Load it with: source <(tollgatectl completion bash)", .status = STATUS_PLAIN, .run = ctl_completion },
    { .name = "man", .summary = "print the manual page as troff source", .forms = { "" },
      .about = "Read it with: tollgatectl man | man -l -", .status = STATUS_PLAIN, .run = ctl_man },
    { .name = NULL }
};

const struct ctl_command *ctl_command_find(const char *name)
{
    for (const struct ctl_command *c = ctl_commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}
