-- tollgate inside HAProxy. Three parts, none of which ever yields inside a filter:
--   tollgate-splice  second tier: applies the agent's edits to the buffered request body, byte for byte
--   tollgate-tap     first tier: watches the response pass by and makes one settlement record of it
--   the hand-off     a task in each thread that brings the records to the agent, acknowledged one by one
-- Load with lua-load-per-thread: every thread has its own copy of everything below, so nothing here is shared or locked.
-- The wire format of the records, and what each key means, is described in haproxy/README.md.

local find, sub, byte, match, pack = string.find, string.sub, string.byte, string.match, string.pack
local concat = table.concat

-- ---- msgpack, as much as a record needs ---------------------------------------------------------------------------

local function pack_int(n)
    if n >= 0 then
        if n < 0x80 then return pack("B", n) end
        if n < 0x100 then return pack("BB", 0xcc, n) end
        if n < 0x10000 then return pack(">BI2", 0xcd, n) end
        if n < 0x100000000 then return pack(">BI4", 0xce, n) end
        return pack(">Bi8", 0xd3, n)
    end
    if n >= -32 then return pack("b", n) end
    return pack(">Bi8", 0xd3, n)
end

local function pack_str(s)
    local n = #s
    if n < 32 then return pack("B", 0xa0 + n) .. s end
    if n < 0x100 then return pack("BB", 0xd9, n) .. s end
    if n < 0x10000 then return pack(">BI2", 0xda, n) .. s end
    return pack(">BI4", 0xdb, n) .. s
end

local function pack_bin(s)
    local n = #s
    if n < 0x100 then return pack("BB", 0xc4, n) .. s end
    if n < 0x10000 then return pack(">BI2", 0xc5, n) .. s end
    return pack(">BI4", 0xc6, n) .. s
end

local function pack_bool(b) return b and "\xc3" or "\xc2" end

-- fields: {key, packed value, key, packed value, ...}
local function pack_map(fields)
    local n = #fields // 2
    local out = { n < 16 and pack("B", 0x80 + n) or pack(">BI2", 0xde, n) }
    for i = 1, #fields, 2 do
        out[#out + 1] = pack_str(fields[i])
        out[#out + 1] = fields[i + 1]
    end
    return concat(out)
end

-- ---- the hand-off -------------------------------------------------------------------------------------------------

local QUEUE_BYTES = 64 * 1024 * 1024 -- per thread, while the agent is away
local BATCH_RECORDS, BATCH_BYTES = 64, 1024 * 1024
local POLL_MS, RECONNECT_MS = 10, 200
-- A socket of HAProxy's Lua closes by itself after this many seconds without traffic, waited for or not: it is closed by us before that
-- happens. And HAProxy 2.6 now and then does not wake a task whose data came just as it began to wait; the task goes on when the time is
-- over. So the time is short: an agent that really takes longer gets the same records again.
local IO_S, IDLE_MS, LATE_MS = 1, 300, 700
-- Nor do other records wait for such a task: a second one takes over what is queued when the first has been busy with a batch for so long.
local STUCK_MS = 30

local function now_ms()
    local t = core.now()
    return t.sec * 1000 + t.usec // 1000
end

-- bytes: of all records kept, those under way included
local queue = { first = 1, last = 0, bytes = 0, dropped = 0 }
local receiver -- "unix@/path", from the tap filter's argument
local busy_since = {} -- of each courier, ms; nil: waits for records
local agent_down

local function queue_push(record)
    if queue.bytes + #record > QUEUE_BYTES then return false end
    queue.last = queue.last + 1
    queue[queue.last] = record
    queue.bytes = queue.bytes + #record
    return true
end

local function queue_take()
    local batch, bytes = {}, 0
    while #batch < BATCH_RECORDS and queue.first <= queue.last do
        local record = queue[queue.first]
        if bytes > 0 and bytes + #record > BATCH_BYTES then break end
        batch[#batch + 1], bytes = record, bytes + #record
        queue[queue.first] = nil
        queue.first = queue.first + 1
    end
    return batch, bytes
end

-- The batch's records beyond the first `good`, which the agent has acknowledged, are queued again, at its front.
local function queue_settle(batch, good)
    for i = 1, good do queue.bytes = queue.bytes - #batch[i] end
    for i = #batch, good + 1, -1 do
        queue.first = queue.first - 1
        queue[queue.first] = batch[i]
    end
end

local function link_close(courier)
    if courier.link then pcall(courier.link.close, courier.link) end
    courier.link = nil
end

local function link_open(courier)
    local s = core.tcp()
    s:settimeout(IO_S)
    local ok, why = s:connect(receiver)
    if not ok then error("connect: " .. tostring(why), 0) end
    courier.link = s
end

-- Sends a batch and waits for its acknowledgements, one '+' for each record. Returns how many came.
local function link_send(courier, batch, bytes)
    local sent, why = courier.link:send(concat(batch))
    if not sent or sent < bytes then error("send: " .. tostring(why), 0) end
    local acks, why_not, partial = courier.link:receive(#batch)
    local good = #match(acks or partial or "", "^%+*")
    if good < #batch then courier.why = "acknowledgement: " .. tostring(why_not) end
    return good
end

-- What was not acknowledged stays queued and is sent again over the next connection: the agent may see a record twice, and tells by its id.
local function deliver(courier)
    if not courier.link then link_open(courier) end
    local batch, bytes = queue_take() -- may be empty: the other courier was here while we were connecting
    if #batch == 0 then return end
    local began = now_ms()
    local ok, good = pcall(link_send, courier, batch, bytes)
    queue_settle(batch, ok and good or 0)
    if not ok then error(good, 0) end
    if good < #batch then error(courier.why, 0) end
    if now_ms() - began > LATE_MS then link_close(courier) end
end

local function work_to_do(n)
    if queue.first > queue.last then return false end
    return n == 1 or (busy_since[1] ~= nil and now_ms() - busy_since[1] > STUCK_MS)
end

local function courier_run(n)
    local courier, idle = {}, 0
    while true do
        if not work_to_do(n) then
            core.msleep(POLL_MS)
            idle = idle + POLL_MS
            if courier.link and idle >= IDLE_MS then link_close(courier) end
        else
            idle = 0
            busy_since[n] = now_ms()
            -- An error raised here would end the task for good, so every socket call stands inside pcall.
            local ok, why = pcall(deliver, courier)
            busy_since[n] = nil
            if ok then
                if agent_down then core.Info("tollgate: settlement records are being taken again") end
                agent_down = false
            else
                link_close(courier)
                if not agent_down then
                    core.Warning("tollgate: the agent takes no settlement records (" .. tostring(why) .. "); they are kept")
                end
                agent_down = true
                core.msleep(RECONNECT_MS)
            end
        end
    end
end

for n = 1, 2 do core.register_task(function() courier_run(n) end) end

-- ---- reading responses --------------------------------------------------------------------------------------------

-- Whether the member at the top of a document says that it tells an error: {"error":{...}}, {"error":"..."}, {"type":"error"},
-- {"object":"error"}. A Responses object has "error":null while all is well.
local function is_error_member(s, key, colon)
    if key == "error" then return match(s, "^[ \t\r\n]*{", colon) or match(s, '^[ \t\r\n]*"[^"]', colon) end
    return (key == "type" or key == "object") and match(s, '^[ \t\r\n]*"error"', colon)
end

-- Types and codes of errors that are the request's own; agent/route/haproxy_group.c and agent/relay/relay_stream.c know them too.
local REQUEST_FAULTS = { '"content_filter"', '"content_policy_violation"', '"context_length_exceeded"', '"invalid_prompt"',
                         '"invalid_request_error"' }

local function blames_request(s)
    for i = 1, #REQUEST_FAULTS do
        if find(s, REQUEST_FAULTS[i], 1, true) then return true end
    end
end

-- Finds the usage object and the model of one JSON document: at its top, or one level down in "response" (Responses API) or
-- "message" (Anthropic's message_start). Looks at nothing deeper, so neither an echoed tool schema nor generated text can pass for
-- usage. Returns usage, usage inside "message", model, each nil when absent or null; and whether it tells an error and
-- whether it holds choices, false or nil when not.
local function json_read(s)
    local usage, message_usage, model, failed, choices
    local depth, pos = 0, 1
    local key1, key2, want, want_at, want_depth
    while true do
        local at = find(s, '["{}%[%]]', pos)
        if not at then break end
        local c = byte(s, at)
        if c == 34 then -- a string: hop to its closing quote
            local q = at + 1
            while true do
                q = find(s, '["\\]', q)
                if not q then return usage, message_usage, model, failed, choices end
                if byte(s, q) == 34 then break end
                q = q + 2
            end
            if depth <= 2 then
                local colon = match(s, "^[ \t\r\n]*:()", q + 1)
                if colon then
                    local key = sub(s, at + 1, q - 1)
                    if depth == 1 then
                        key1, key2 = key, nil
                        failed = failed or is_error_member(s, key, colon)
                        choices = choices or key == "choices" and match(s, "^[ \t\r\n]*%[[ \t\r\n]*[^%] \t\r\n]", colon)
                    else
                        key2 = key
                    end
                    local inner = depth == 2 and (key1 == "response" or key1 == "message")
                    if depth == 1 or inner then
                        if key == "usage" then
                            want = inner and key1 == "message" and "message" or "own"
                            want_at, want_depth = match(s, "^[ \t\r\n]*(){", colon), depth
                        elseif key == "model" and not model then
                            model = match(s, '^[ \t\r\n]*"([^"\\]*)"', colon)
                        end
                    end
                end
            end
            pos = q + 1
        else
            if c == 123 or c == 91 then
                depth = depth + 1
            else
                depth = depth - 1
                if want_at and depth == want_depth then
                    local object = sub(s, want_at, at)
                    if want == "message" then message_usage = object else usage = object end
                    want_at = nil
                end
            end
            pos = at + 1
        end
    end
    return usage, message_usage, model, failed, choices
end

-- The last usage object in the tail of a body too long to be held whole.
local function tail_find_usage(tail)
    local usage
    local pos = 1
    while true do
        local at, stop = find(tail, '"usage"[ \t\r\n]*:[ \t\r\n]*', pos)
        if not at then return usage end
        usage = match(tail, "^%b{}", stop + 1) or usage
        pos = stop + 1
    end
end

-- Does this event carry something the model made? (An opening delta has an empty content, a usage chunk has none.)
local CONTENT_KEYS = { "content", "text", "reasoning_content", "reasoning", "thinking", "refusal", "partial_json", "arguments" }
local function event_has_content(s)
    local _, at = find(s, '"delta"%s*:%s*')
    if at then
        if find(s, '^"[^"]', at + 1) then return true end
        if find(s, '"tool_calls"%s*:%s*%[%s*{', at + 1) then return true end
    else
        _, at = find(s, '"choices"%s*:%s*')
        if not at then return false end
    end
    for i = 1, #CONTENT_KEYS do
        if find(s, '"' .. CONTENT_KEYS[i] .. '"%s*:%s*"[^"]', at) then return true end
    end
    return false
end

-- ---- the response tap ---------------------------------------------------------------------------------------------

local PLAIN_BYTES = 1024 * 1024 -- a plain body up to this is read whole, beyond it only its tail
local TAIL_BYTES = 65536
local LINE_BYTES = 1024 * 1024  -- an event longer than this is read by its tail
local TAP_CAPTURE = 1           -- bit of txn.tg.tap: send the body along when no usage was found
local TAP_HIDE_USAGE = 2        -- another: the usage chunk was the gateway's wish, not the client's
local HELD_BYTES = 65536        -- an unfinished event longer than this is no usage chunk, and is let go

local Tap = { id = "tollgate-tap", flags = filter.FLT_CFG_FL_HTX }
Tap.__index = Tap

function Tap:new()
    return setmetatable({ bytes = 0, events = 0, ttft = -1, last = -1, headers = -1 }, Tap)
end

function Tap:start_analyze(txn, chn)
    if not self.began then self.began = now_ms() end
end

function Tap:http_headers(txn, msg)
    if not msg.channel:is_resp() then return filter.CONTINUE end
    self.headers = now_ms() - self.began
    local flags = txn:get_var("txn.tg.tap")
    if flags and flags & TAP_CAPTURE ~= 0 then self.cap = txn:get_var("txn.tg.cap") end
    self.cap = self.cap or 0
    self.sse = txn:get_var("txn.tgx.sse") ~= nil
    self.hide = self.sse and flags and flags & TAP_HIDE_USAGE ~= 0
    self.keep, self.kept = {}, 0
    self.keep_limit = self.sse and self.cap or math.max(self.cap, PLAIN_BYTES)
    self.line, self.line_bytes = {}, 0
    filter.register_data_filter(self, msg.channel)
    return filter.CONTINUE
end

-- Whether the document tells an error, and whether it holds choices.
local function tap_document(self, document)
    local usage, message_usage, model, failed, choices = json_read(document)
    self.usage = usage or self.usage
    self.usage2 = message_usage or self.usage2
    self.model = self.model or model
    return failed, choices
end

local function tap_event(self, s, when)
    self.events = self.events + 1
    if find(s, "^%s*%[DONE%]") then
        self.done = true
        return
    end
    if self.ttft < 0 and event_has_content(s) then self.ttft = when end
    local failed
    local worth = find(s, '"usage"', 1, true) or (not self.model and self.events <= 8 and find(s, '"model"', 1, true))
    if worth or (find(s, '"error"', 1, true) and not find(s, '"error"%s*:%s*null')) then failed = tap_document(self, s) end
    local kind = match(s, '"type"%s*:%s*"([^"]*)"')
    if kind == "message_stop" or kind == "response.completed" or kind == "response.incomplete" then
        self.done = true
    elseif failed or kind == "response.failed" then
        self.failed = true
        self.blamed = blames_request(s)
    end
end

local function tap_line_end(self, rest, when)
    local s = rest
    if self.line_bytes > 0 then
        self.line[#self.line + 1] = rest
        s = concat(self.line)
        self.line, self.line_bytes = {}, 0
    end
    if self.line_tail then
        self.usage = tail_find_usage(self.line_tail .. s) or self.usage
        if self.line_is_data then
            self.events = self.events + 1
            if find(self.line_kind, '"response.completed"', 1, true) then self.done = true end
        end
        self.line_tail, self.line_is_data, self.line_kind = nil, nil, nil
    elseif sub(s, 1, 5) == "data:" then
        tap_event(self, sub(s, 6), when)
    end
end

local function tap_line_more(self, piece)
    self.line[#self.line + 1] = piece
    self.line_bytes = self.line_bytes + #piece
    if self.line_bytes <= LINE_BYTES then return end
    local s = concat(self.line)
    if not self.line_tail then
        self.line_is_data = sub(s, 1, 5) == "data:"
        self.line_kind = sub(s, 1, 256)
    end
    self.line_tail = sub((self.line_tail or "") .. s, -TAIL_BYTES)
    self.line, self.line_bytes = {}, 0
end

local function tap_stream(self, data, when)
    local pos = 1
    while true do
        local at = find(data, "[\r\n]", pos)
        if not at then break end
        tap_line_end(self, sub(data, pos, at - 1), when)
        pos = at + 1
    end
    if pos <= #data then tap_line_more(self, pos == 1 and data or sub(data, pos)) end
end

local function tap_keep(self, data)
    if self.kept >= self.keep_limit then return end
    local room = self.keep_limit - self.kept
    if #data > room then data = sub(data, 1, room) end
    self.keep[#self.keep + 1] = data
    self.kept = self.kept + #data
end

local function tap_see(self, data)
    local when = now_ms() - self.began
    self.bytes = self.bytes + #data
    self.last = when
    tap_keep(self, data)
    if self.sse then
        tap_stream(self, data, when)
    else
        if self.ttft < 0 then self.ttft = when end
        if self.bytes > self.kept then self.tail = sub((self.tail or "") .. data, -TAIL_BYTES) end
    end
end

-- The length of `data` up to the end of its last whole event; 0: no event ends in it.
local function events_end(data)
    local stop, pos = 0, 1
    while true do
        local _, at = find(data, "\n\r?\n", pos)
        if not at then return stop end
        stop, pos = at, at + 1
    end
end

-- Takes the usage chunk out of what is about to be passed on. Only whole events are passed, so that none is seen in two halves.
-- Returns the data that may be looked at now, and how much of it stays to be passed on.
local function tap_hide(self, msg, data)
    local n = #data
    if sub(data, -2) ~= "\n\n" and not msg:eom() then
        local whole = events_end(data)
        if n - whole <= HELD_BYTES then n = whole end
    end
    if n < #data then data = sub(data, 1, n) end
    local left = n
    if not find(data, '"usage"', 1, true) then return data, left end
    local pos = 1
    while pos <= #data do
        local _, stop = find(data, "\n\r?\n", pos)
        stop = stop or #data
        local event = sub(data, pos, stop)
        if find(event, '"usage"%s*:%s*{') and find(event, '"choices"%s*:%s*%[%s*%]') then
            msg:remove(pos - 1 - (n - left), stop - pos + 1)
            left = left - (stop - pos + 1)
        end
        pos = stop + 1
    end
    -- HAProxy 3.0 never ends an answer whose last bytes were all taken out: a blank line, which says nothing, stays in their place.
    if left == 0 then left = msg:insert("\n", 0) end
    return data, left
end

function Tap:http_payload(txn, msg)
    if not msg.channel:is_resp() then return end
    local data = msg:body()
    if not data or #data == 0 then return end
    if not self.hide then
        tap_see(self, data)
        return -- not "return nil": HAProxy would take that for "pass nothing on"
    end
    local pass
    data, pass = tap_hide(self, msg, data)
    if #data > 0 then tap_see(self, data) end
    return pass
end

function Tap:http_end(txn, msg)
    if msg.channel:is_resp() then self.complete = true end
    return filter.CONTINUE
end

-- A plain body is read once, at its end: usage, model and error stand at its top level.
local function tap_plain(self)
    if self.tail then
        self.usage = tail_find_usage(self.tail)
        self.model = match(self.keep[1], '"model"%s*:%s*"([^"\\]*)"')
    elseif self.bytes > 0 then
        local document = concat(self.keep)
        local failed, choices = tap_document(self, document)
        self.failed = failed and not choices
        self.blamed = self.failed and blames_request(document)
    end
    self.done = self.complete
end

local function tap_record(self, txn, with_body)
    local function var(name) return txn:get_var(name) end
    local f = {
        "v", pack_int(1),
        "id", pack_str(var("txn.tgx.id") or ""),
        "grp", pack_str(var("txn.tgx.grp") or ""),
        "att", pack_int(tonumber(var("txn.tgx.att")) or 0),
        "st", pack_int(tonumber(var("txn.tgx.st")) or -1),
        "sse", pack_bool(self.sse),
        "done", pack_bool(self.done),
        "end", pack_str(self.complete and "complete" or "cut"),
        "hdr_ms", pack_int(self.headers),
        "ttft_ms", pack_int(self.ttft),
        "last_ms", pack_int(self.last),
        "bytes", pack_int(self.bytes),
        "events", pack_int(self.events),
    }
    local function add(key, value)
        f[#f + 1] = key
        f[#f + 1] = value
    end
    if self.usage then add("usage", pack_str(self.usage)) end
    if self.usage2 then add("usage2", pack_str(self.usage2)) end
    if self.model then add("model", pack_str(self.model)) end
    if self.failed then add("failed", pack_bool(true)) end
    if self.blamed then add("blamed", pack_bool(true)) end
    local rid, retry, coding = var("txn.tgx.rid"), var("txn.tgx.retry"), var("txn.tgx.coding")
    if rid then add("rid", pack_str(rid)) end
    if retry then add("retry_after", pack_str(retry)) end
    if coding then add("cenc", pack_str(coding)) end
    if with_body then
        local body = concat(self.keep)
        if #body > self.cap then body = sub(body, 1, self.cap) end
        add("body", pack_bin(body))
        add("body_cut", pack_bool(self.bytes > #body))
    end
    if queue.dropped > 0 then add("dropped", pack_int(queue.dropped)) end
    return pack_map(f)
end

-- Called for every response however it ends: complete, cut by the provider, abandoned by the client, never begun. Not called for
-- what HAProxy answers itself before a request is routed.
function Tap:end_analyze(txn, chn)
    if not chn:is_resp() or self.finished then return end
    self.finished = true
    if not txn:get_var("txn.tgx.go") then return end
    self.began = self.began or now_ms()
    self.cap = self.cap or 0
    if self.headers >= 0 then
        if self.sse then
            if self.line_bytes > 0 or self.line_tail then tap_line_end(self, "", self.last) end
        else
            tap_plain(self)
        end
    end
    local broken = not self.complete or (self.failed and not self.done)
    -- An error in place of an answer: there is nothing in it to be counted.
    local told = not self.sse and self.failed and (tonumber(txn:get_var("txn.tgx.st")) or 0) < 300
    local with_body = self.cap > 0 and self.bytes > 0 and (not self.usage or broken) and not told
    if queue_push(tap_record(self, txn, with_body)) or (with_body and queue_push(tap_record(self, txn, false))) then
        queue.dropped = 0
    else
        queue.dropped = queue.dropped + 1
    end
end

core.register_filter("tollgate-tap", Tap, function(flt, args)
    receiver = "unix@" .. args[1]
    return flt
end)

-- ---- the request splicer ------------------------------------------------------------------------------------------

-- "off,len,textlen:text;..." by falling offset, so that no edit moves the place of the next. Content-Length is corrected by a
-- rule of the second tier: once a body is buffered a filter may not touch headers any more.
local Splice = { id = "tollgate-splice", flags = filter.FLT_CFG_FL_HTX }
Splice.__index = Splice

function Splice:new() return setmetatable({}, Splice) end

function Splice:start_analyze(txn, chn) end

-- Anything that is not exactly an edit list raises an error: the request then fails, instead of reaching a provider without its
-- output ceiling.
local function edits_parse(list)
    local edits, pos, before = {}, 1, math.huge
    while pos <= #list do
        local off, len, n, at = match(list, "^(%d+),(%d+),(%d+):()", pos)
        if not off then error("tollgate: malformed edit list", 0) end
        off, len, n = tonumber(off), tonumber(len), tonumber(n)
        if off + len > before or sub(list, at + n, at + n) ~= ";" then error("tollgate: malformed edit list", 0) end
        edits[#edits + 1] = { off = off, len = len, text = sub(list, at, at + n - 1) }
        before = off
        pos = at + n + 1
    end
    return edits
end

function Splice:http_headers(txn, msg)
    if msg.channel:is_resp() then return filter.CONTINUE end
    local list = txn:get_var("txn.tgx.edit")
    if list then
        self.edits = edits_parse(list)
        if #self.edits > 0 then filter.register_data_filter(self, msg.channel) end
    end
    return filter.CONTINUE
end

function Splice:http_payload(txn, msg)
    local edits = self.edits
    if not edits or msg.channel:is_resp() then return end
    local have = msg:input()
    if have < edits[1].off + edits[1].len then
        if msg:eom() then error("tollgate: edit beyond the body", 0) end
        return 0
    end
    self.edits = nil
    for i = 1, #edits do
        local e = edits[i]
        local done
        if e.len == 0 then
            done = msg:insert(e.text, e.off)
        elseif #e.text == 0 then
            msg:remove(e.off, e.len)
            done = 0
        else
            done = msg:set(e.text, e.off, e.len)
        end
        if done < 0 then error("tollgate: edit does not fit", 0) end
    end
end

core.register_filter("tollgate-splice", Splice, function(flt, args) return flt end)
