-- Calls in the name of many: one line of BENCH_CALLERS is a cookie header and a CSRF token, separated by a tab.
-- BENCH_DELAY_MS is the mean pause of a connection between two calls; without it each calls as fast as it can.

local prepared = {}
local turn = 0
local mean_delay = tonumber(os.getenv("BENCH_DELAY_MS") or "0")

function init(_)
  local method = os.getenv("BENCH_METHOD") or "GET"
  local body = nil
  local size = tonumber(os.getenv("BENCH_BODY_BYTES") or "0")
  if size > 0 then body = string.rep("a", size) end
  for line in io.lines(os.getenv("BENCH_CALLERS")) do
    local cookie, token = line:match("^(.-)\t(.*)$")
    local headers = { ["Host"] = wrk.headers["Host"], ["Accept"] = "application/json" }
    headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    headers["Accept-Language"] = "en-US,en;q=0.5"
    headers["Accept-Encoding"] = "gzip, deflate, br"
    headers["Sec-Fetch-Site"] = "same-origin"
    headers["Sec-Fetch-Mode"] = "cors"
    headers["Sec-Fetch-Dest"] = "empty"
    if cookie ~= "" then headers["Cookie"] = cookie end
    if token ~= "" then headers["X-CSRF-Token"] = token end
    if body then headers["Content-Type"] = "application/octet-stream" end
    prepared[#prepared + 1] = wrk.format(method, nil, headers, body)
  end
end

function request()
  turn = turn % #prepared + 1
  return prepared[turn]
end

if mean_delay > 0 then
  function delay()
    return math.random(0, 2 * mean_delay)
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"calls": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, "p999": %d, "longest": %d, ' ..
    '"broken": %d, "refused": %d}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
