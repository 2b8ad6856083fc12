/* The guest ABI and packets behind planck.h. Layouts: docs/abi.md,
 * docs/protocol.md, and proto/src/http.rs for the two HTTP messages. */
#include "internal.h"

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("planck"), import_name(#name)))

IMPORT(host_request)
int64_t host_request(const void *packet, uint32_t len, void *out, uint32_t cap);
IMPORT(host_read)
int64_t host_read(uint32_t offset, void *out, uint32_t len);
IMPORT(host_call_service)
int64_t host_call_service(const void *name, uint32_t name_len, const void *packet, uint32_t len, void *out,
                          uint32_t cap);
IMPORT(host_log)
void host_log(int32_t level, const void *line, uint32_t len);
IMPORT(host_now)
int64_t host_now(void);
IMPORT(host_random)
void host_random(void *out, uint32_t len);
IMPORT(host_write)
int64_t host_write(const void *piece, uint32_t len);

/* ---- Memory: the request's buffer, then the arena ---- */

extern uint8_t __heap_base;
/* Where the arena begins, behind the request's buffer; where it ends; and where the memory of
 * a piece begins, or 0. */
static uint32_t arena, top, piece;

static void reserve(uint64_t end) {
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end <= have) return;
    unsigned long pages = (unsigned long)((end - have + 0xffff) >> 16);
    if (__builtin_wasm_memory_grow(0, pages) == (unsigned long)-1)
        __builtin_trap(); /* the host knows that memory was refused, and says so */
}

uint8_t *planck_take(uint32_t len) {
    uint64_t at = ((uint64_t)top + 7) & ~7ull;
    reserve(at + len);
    top = (uint32_t)(at + len);
    return (uint8_t *)(uint32_t)at;
}

void planck_next_piece(void) {
    if (piece == 0) piece = top;
    top = piece;
}

static void copy(uint8_t *to, const uint8_t *from, uint32_t len) { __builtin_memcpy(to, from, len); }

bool planck_same(planck_text a, planck_text b) {
    if (a.len != b.len) return false;
    for (uint32_t i = 0; i < a.len; i++)
        if (a.at[i] != b.at[i]) return false;
    return true;
}

bool planck_starts(planck_text text, planck_text with) {
    return text.len >= with.len && planck_same((planck_text){text.at, with.len}, with);
}

planck_text planck_all(const planck_buffer *buffer) { return (planck_text){buffer->at, buffer->len}; }

/* Room for `len` bytes more. */
static uint8_t *room(planck_buffer *out, uint32_t len) {
    uint64_t need = (uint64_t)out->len + len;
    if (need > out->cap) {
        uint64_t cap = out->cap < 64 ? 64 : 2ull * out->cap;
        if (cap < need) cap = need;
        if (cap > UINT32_MAX) __builtin_trap();
        uint8_t *at = planck_take((uint32_t)cap);
        copy(at, out->at, out->len);
        out->at = at;
        out->cap = (uint32_t)cap;
    }
    uint8_t *at = out->at + out->len;
    out->len = (uint32_t)need;
    return at;
}

void planck_put(planck_buffer *out, planck_text text) { copy(room(out, text.len), text.at, text.len); }

void planck_put_byte(planck_buffer *out, uint8_t byte) { *room(out, 1) = byte; }

/* The lowest `bytes` bytes of a number, the lowest first. */
void planck_put_int(planck_buffer *out, uint64_t number, uint32_t bytes) {
    uint8_t *at = room(out, bytes);
    for (uint32_t i = 0; i < bytes; i++) at[i] = (uint8_t)(number >> (8 * i));
}

void planck_put_number(planck_buffer *out, int64_t number) {
    uint8_t digits[20];
    uint32_t at = sizeof digits;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do digits[--at] = (uint8_t)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0) planck_put_byte(out, '-');
    planck_put(out, (planck_text){digits + at, sizeof digits - at});
}

static const char HEX[] = "0123456789abcdef";

void planck_put_hex(planck_buffer *out, planck_text bytes) {
    for (uint32_t i = 0; i < bytes.len; i++) {
        planck_put_byte(out, (uint8_t)HEX[bytes.at[i] >> 4]);
        planck_put_byte(out, (uint8_t)HEX[bytes.at[i] & 15]);
    }
}

void planck_put_json(planck_buffer *out, planck_text text) {
    planck_put_byte(out, '"');
    for (uint32_t i = 0; i < text.len; i++) {
        uint8_t byte = text.at[i];
        if (byte < 0x20) {
            planck_put(out, PLANCK_TEXT("\\u00"));
            planck_put_hex(out, (planck_text){&byte, 1});
            continue;
        }
        if (byte == '"' || byte == '\\') planck_put_byte(out, '\\');
        planck_put_byte(out, byte);
    }
    planck_put_byte(out, '"');
}

/* ---- Reading within bounds ---- */

planck_text planck_bytes(planck_reader *in, uint32_t len) {
    if (in->bad || len > in->rest.len) {
        in->bad = true;
        return (planck_text){0, 0};
    }
    planck_text taken = {in->rest.at, len};
    in->rest = (planck_text){in->rest.at + len, in->rest.len - len};
    return taken;
}

uint64_t planck_int(planck_reader *in, uint32_t len) {
    planck_text taken = planck_bytes(in, len);
    uint64_t value = 0;
    for (uint32_t i = 0; i < taken.len; i++) value |= (uint64_t)taken.at[i] << (8 * i);
    return value;
}

planck_text planck_text16(planck_reader *in) { return planck_bytes(in, (uint32_t)planck_int(in, 2)); }

/* ---- HTTP ---- */

static bool decode(planck_text message, planck_request *request) {
    planck_reader in = {message, false};
    if (planck_int(&in, 1) != 1) return false;
    request->method = planck_text16(&in);
    planck_text target = planck_bytes(&in, (uint32_t)planck_int(&in, 4));
    request->peer = planck_text16(&in);
    uint32_t count = (uint32_t)planck_int(&in, 2);
    const uint8_t *headers = in.rest.at;
    for (uint32_t i = 0; i < count && !in.bad; i++) {
        planck_text16(&in);
        planck_text16(&in);
    }
    request->headers = (planck_text){headers, (uint32_t)(in.rest.at - headers)};
    request->body = in.rest;
    uint32_t at = 0;
    while (at < target.len && target.at[at] != '?') at++;
    request->path = (planck_text){target.at, at};
    request->query = at < target.len ? (planck_text){target.at + at + 1, target.len - at - 1} : PLANCK_TEXT("");
    return !in.bad;
}

bool planck_header(const planck_request *request, planck_text name, planck_text *value) {
    planck_reader in = {request->headers, false};
    while (in.rest.len > 0 && !in.bad) {
        planck_text found = planck_text16(&in), its = planck_text16(&in);
        if (!in.bad && planck_same(found, name)) {
            *value = its;
            return true;
        }
    }
    return false;
}

bool planck_parameter(const planck_request *request, planck_text name, planck_text *value) {
    planck_text rest = request->query;
    while (rest.len > 0) {
        uint32_t end = 0;
        while (end < rest.len && rest.at[end] != '&') end++;
        planck_text pair = {rest.at, end};
        if (pair.len > name.len && pair.at[name.len] == '=' && planck_starts(pair, name)) {
            *value = (planck_text){pair.at + name.len + 1, pair.len - name.len - 1};
            return true;
        }
        end += end < rest.len;
        rest = (planck_text){rest.at + end, rest.len - end};
    }
    return false;
}

bool planck_add_header(planck_response *response, planck_text name, planck_text value) {
    if (name.len > 65535 || value.len > 65535 || response->header_count == 65535) return false;
    response->header_count++;
    planck_put_int(&response->headers, name.len, 2);
    planck_put(&response->headers, name);
    planck_put_int(&response->headers, value.len, 2);
    planck_put(&response->headers, value);
    return true;
}

void planck_put_request(planck_buffer *out, planck_text method, planck_text target, planck_text body) {
    planck_put_byte(out, 1);
    planck_put_int(out, method.len, 2);
    planck_put(out, method);
    planck_put_int(out, target.len, 4);
    planck_put(out, target);
    planck_put_int(out, 0, 4); /* no peer, no headers */
    planck_put(out, body);
}

/* ---- Requests to the data ---- */

enum { CREATE_STORE = 5, INSERT = 7, READ = 9, QUERY = 14, SCHEDULE = 48 };
enum { KEY = 1, ROWS = 5 };

static const planck_result UNEXPECTED = {1999, PLANCK_TEXT("the host gave a reply that cannot be read")};

bool planck_key_parse(planck_text digits, planck_key *key) {
    if (digits.len != 32) return false;
    for (uint32_t i = 0; i < 32; i++) {
        uint8_t digit = digits.at[i], value;
        if (digit >= '0' && digit <= '9') value = digit - '0';
        else if (digit >= 'a' && digit <= 'f') value = digit - 'a' + 10;
        else return false;
        key->bytes[i / 2] = i % 2 ? (uint8_t)(key->bytes[i / 2] << 4 | value) : value;
    }
    return true;
}

planck_text planck_key_bytes(const planck_key *key) { return (planck_text){key->bytes, 16}; }

static planck_buffer packet(uint16_t operation) {
    planck_buffer out = {0};
    planck_put(&out, PLANCK_TEXT("PLNK\1\0"));
    planck_put_int(&out, operation, 2);
    planck_put_int(&out, 1, 8);
    planck_put_int(&out, 0, 8); /* the body's length, known later; no patience of our own */
    return out;
}

static void put_text16(planck_buffer *out, planck_text text) {
    planck_put_int(out, text.len, 2);
    planck_put(out, text);
}

/* What the host answered: read again whole if it did not fit; never asked for twice. */
static planck_text whole(uint8_t *out, uint32_t cap, int64_t total) {
    if (total <= cap) return (planck_text){out, (uint32_t)total};
    out = planck_take((uint32_t)total);
    return (planck_text){out, (uint32_t)host_read(0, out, (uint32_t)total)};
}

/* A reply packet: its status, and its body behind the tag that must be there. */
static planck_result reply(planck_text packet, uint8_t tag, planck_reader *body) {
    planck_reader in = {packet, false};
    planck_bytes(&in, 6);
    uint16_t status = (uint16_t)planck_int(&in, 2);
    planck_bytes(&in, 16);
    if (in.bad) return UNEXPECTED;
    if (status != 0) return (planck_result){status, in.rest};
    if (planck_int(&in, 1) != tag) return UNEXPECTED;
    *body = in;
    return (planck_result){0};
}

#define FIRST_REPLY 4096

static planck_result ask(planck_buffer *packet, uint8_t tag, planck_reader *body) {
    uint32_t len = packet->len - 24;
    for (uint32_t i = 0; i < 4; i++) packet->at[16 + i] = (uint8_t)(len >> (8 * i));
    uint8_t *out = planck_take(FIRST_REPLY);
    int64_t total = host_request(packet->at, packet->len, out, FIRST_REPLY);
    return reply(whole(out, FIRST_REPLY, total), tag, body);
}

planck_result planck_create_store(planck_text store) {
    planck_reader body;
    planck_buffer out = packet(CREATE_STORE);
    put_text16(&out, store);
    planck_put_byte(&out, 1);
    return ask(&out, 0, &body);
}

static bool key_from(planck_reader *in, planck_key *key) {
    planck_text taken = planck_bytes(in, 16);
    if (in->bad) return false;
    copy(key->bytes, taken.at, 16);
    return true;
}

planck_result planck_insert(planck_text store, planck_text doc, planck_key *key) {
    planck_reader body;
    planck_buffer out = packet(INSERT);
    put_text16(&out, store);
    for (int i = 0; i < 17; i++) planck_put_byte(&out, 0); /* no key of ours */
    planck_put(&out, doc);
    planck_result result = ask(&out, KEY, &body);
    return result.status == 0 && !key_from(&body, key) ? UNEXPECTED : result;
}

planck_result planck_schedule(planck_text job, planck_key *key) {
    planck_reader body;
    planck_buffer out = packet(SCHEDULE);
    planck_put(&out, job);
    planck_result result = ask(&out, KEY, &body);
    return result.status == 0 && !key_from(&body, key) ? UNEXPECTED : result;
}

static planck_result rows(planck_buffer *out, planck_rows *rows) {
    planck_reader in;
    planck_result result = ask(out, ROWS, &in);
    if (result.status != 0) return result;
    rows->keyed = planck_int(&in, 1) == 1;
    planck_bytes(&in, 17); /* where to go on */
    rows->left = (uint32_t)planck_int(&in, 4);
    rows->bytes = in.rest;
    return in.bad ? UNEXPECTED : result;
}

bool planck_next(planck_rows *rows, planck_key *key, planck_text *doc) {
    planck_reader in = {rows->bytes, false};
    if (rows->left == 0) return false;
    *key = (planck_key){0};
    if (rows->keyed) key_from(&in, key);
    planck_reader ahead = in;
    *doc = planck_bytes(&in, (uint32_t)planck_int(&ahead, 4));
    if (in.bad || ahead.bad) return false;
    rows->left--;
    rows->bytes = in.rest;
    return true;
}

planck_result planck_read(planck_text store, planck_key key, planck_text *doc) {
    planck_rows found;
    planck_buffer out = packet(READ);
    put_text16(&out, store);
    planck_put(&out, planck_key_bytes(&key));
    planck_result result = rows(&out, &found);
    return result.status == 0 && !planck_next(&found, &key, doc) ? UNEXPECTED : result;
}

planck_result planck_query(planck_text text, planck_text parameters, planck_rows *found) {
    planck_buffer out = packet(QUERY);
    planck_put_int(&out, text.len, 4);
    planck_put(&out, text);
    planck_put(&out, parameters);
    return rows(&out, found);
}

/* ---- The host ---- */

void planck_log(int level, planck_text line) { host_log(level, line.at, line.len); }
int64_t planck_now(void) { return host_now(); }
void planck_random(void *out, uint32_t len) { host_random(out, len); }

planck_result planck_call_service(planck_text name, planck_text packet, planck_text *answer) {
    uint8_t *out = planck_take(FIRST_REPLY);
    int64_t total = host_call_service(name.at, name.len, packet.at, packet.len, out, FIRST_REPLY);
    *answer = whole(out, FIRST_REPLY, total);
    planck_reader in = {*answer, false};
    planck_bytes(&in, 6);
    uint16_t status = (uint16_t)planck_int(&in, 2);
    planck_bytes(&in, 16);
    return in.bad ? UNEXPECTED : (planck_result){status, in.rest};
}

/* ---- A response in pieces ---- */

/* Whether the head of this call has left. */
static bool begun;

bool planck_write(planck_text bytes) { return host_write(bytes.at, bytes.len) >= 0; }

static planck_buffer message(const planck_response *response) {
    planck_buffer out = {0};
    planck_put_byte(&out, 1);
    planck_put_int(&out, response->status, 2);
    planck_put_int(&out, response->header_count, 2);
    planck_put(&out, planck_all(&response->headers));
    planck_put(&out, planck_all(&response->body));
    return out;
}

bool planck_begin(planck_response *response) {
    planck_buffer head = message(response);
    response->body.len = 0;
    begun = true;
    return planck_write(planck_all(&head));
}

/* ---- Problems ---- */

static uint16_t http_status(uint16_t status) {
    switch (status) {
    case 1003: case 1102: case 1104: case 1106: case 1403: case 1404: case 1410: return 413;
    case 1202: case 1204: case 1207: case 1210: case 1214: case 1217: case 1301: case 1405: case 1406: case 1407: case 1408: case 1423: return 404;
    case 1203: case 1205: case 1208: case 1211: case 1213: case 1215: case 1216: return 409;
    case 1302: case 1303: case 1304: case 1305: case 1340: case 1421: case 1422: case 1424: case 1603: return 409;
    case 1441: case 1442: case 1443: case 1444: case 1447: return 409;
    case 1501: case 1502: return 401;
    case 1503: case 1701: return 403;
    case 1504: return 429;
    case 1702: return 400;
    case 1703: case 1705: case 1707: case 1708: return 502;
    case 1440: case 1601: case 1704: case 1901: return 503;
    case 1445: case 1602: case 1706: return 504;
    default: return status < 1500 ? 400 : 500;
    }
}

/* Whether an operator must look: the log is told then, the client is not. */
static bool is_fault(uint16_t http, uint16_t code) {
    return http == 500 || code == 1703 || code == 1706 || code == 1707 || code == 1901;
}

static void problem(planck_response *response, uint16_t http, uint16_t code, planck_text detail) {
    planck_buffer body = {0};
    bool fault = is_fault(http, code);
    if (begun || fault) planck_log(PLANCK_ERROR, detail);
    if (fault) detail = PLANCK_TEXT("the service failed; its log says why");
    response->broken = begun;
    response->status = http;
    response->header_count = 0;
    response->headers.len = 0;
    planck_add_header(response, PLANCK_TEXT("content-type"), PLANCK_TEXT("application/problem+json"));
    planck_put(&body, PLANCK_TEXT("{\"status\":"));
    planck_put_number(&body, http);
    if (code != 0) {
        planck_put(&body, PLANCK_TEXT(",\"code\":\"PLK-"));
        planck_put_number(&body, code);
        planck_put_byte(&body, '"');
    }
    planck_put(&body, PLANCK_TEXT(",\"detail\":"));
    planck_put_json(&body, detail);
    planck_put_byte(&body, '}');
    response->body = body;
}

void planck_problem(planck_response *response, planck_result result) {
    problem(response, http_status(result.status), result.status, result.message);
}

void planck_refuse(planck_response *response, uint16_t http, planck_text detail) {
    problem(response, http, 0, detail);
}

/* ---- The exports ---- */

EXPORT(planck_abi)
int32_t planck_abi(void) { return 1; }

/* Asked for between calls, when what was in the arena is nobody's any more: one buffer, at
 * its bottom. So there is no free. */
EXPORT(alloc)
uint8_t *planck_alloc(uint32_t len) {
    uint64_t at = ((uint64_t)(uint32_t)&__heap_base + 7) & ~7ull;
    if (at + len > INT32_MAX) return 0;
    reserve(at + len);
    arena = top = (uint32_t)(at + len);
    return (uint8_t *)(uint32_t)at;
}

EXPORT(init)
void planck_init(void) {
    arena = top = (uint32_t)&__heap_base;
    planck_start();
}

EXPORT(process)
int64_t planck_process(const uint8_t *at, uint32_t len) {
    planck_request request;
    planck_response response = {.status = 200};
    top = arena;
    piece = 0;
    if (!decode((planck_text){at, len}, &request)) {
        planck_log(PLANCK_ERROR, PLANCK_TEXT("the request cannot be read: the host is of another version"));
        return -1;
    }
    begun = false;
    planck_handle(&request, &response);
    if (response.broken) return -1;
    planck_buffer out = begun ? response.body : message(&response);
    return (int64_t)(uint32_t)out.at << 32 | out.len;
}
