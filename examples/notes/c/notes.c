/* The notes of README.md, in C. */
#include "../../../sdk/c/planck.h"

static const planck_text NOTES = PLANCK_TEXT("notes");

void planck_start(void) {
    planck_result made = planck_create_store(NOTES);
    if (made.status != 0) planck_log(PLANCK_ERROR, made.message);
}

/* Names are 1 to 32 of a to z, 0 to 9 and _. */
static bool is_name(planck_text name) {
    for (uint32_t i = 0; i < name.len; i++) {
        uint8_t c = name.at[i];
        if (!(c == '_' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) return false;
    }
    return name.len >= 1 && name.len <= 32;
}

/* The parameter of that name, if there is one; false, and a problem, if it is no name. */
static bool name_of(const planck_request *request, planck_text which, planck_text *name, planck_response *response) {
    if (!planck_parameter(request, which, name) || is_name(*name)) return true;
    planck_refuse(response, 400, PLANCK_TEXT("a name is 1 to 32 of a to z, 0 to 9 and _"));
    return false;
}

static planck_value field_in(planck_text doc, planck_text name) {
    planck_value value = {0};
    planck_field(doc, name, &value);
    return value;
}

static planck_text text_in(planck_text doc, planck_text name) { return planck_as_text(field_in(doc, name)); }

static void put_note(planck_buffer *out, planck_key key, planck_text doc) {
    bool pinned = planck_as_bool(field_in(doc, PLANCK_TEXT("pinned")));
    double minutes = planck_as_double(field_in(doc, PLANCK_TEXT("minutes")));
    planck_put(out, PLANCK_TEXT("{\"key\":\""));
    planck_put_hex(out, planck_key_bytes(&key));
    planck_put(out, PLANCK_TEXT("\",\"by\":"));
    planck_put_json(out, text_in(doc, PLANCK_TEXT("by")));
    planck_put(out, PLANCK_TEXT(",\"text\":"));
    planck_put_json(out, text_in(doc, PLANCK_TEXT("text")));
    planck_put(out, PLANCK_TEXT(",\"at\":"));
    planck_put_number(out, planck_as_int(field_in(doc, PLANCK_TEXT("at"))));
    planck_put(out, PLANCK_TEXT(",\"tag\":"));
    planck_put_json(out, text_in(doc, PLANCK_TEXT("tag")));
    planck_put(out, pinned ? PLANCK_TEXT(",\"pinned\":true") : PLANCK_TEXT(",\"pinned\":false"));
    planck_put(out, PLANCK_TEXT(",\"seconds\":"));
    planck_put_number(out, (int64_t)(60 * minutes));
    planck_put(out, PLANCK_TEXT("}"));
}

static void json(planck_response *response) {
    planck_add_header(response, PLANCK_TEXT("content-type"), PLANCK_TEXT("application/json"));
}

static void add(const planck_request *request, planck_response *response) {
    planck_text by = PLANCK_TEXT("");
    if (!name_of(request, PLANCK_TEXT("by"), &by, response)) return;
    if (by.len == 0) return planck_refuse(response, 400, PLANCK_TEXT("say who you are: ?by=NAME"));
    if (request->body.len < 1 || request->body.len > 1000)
        return planck_refuse(response, 400, PLANCK_TEXT("a note has 1 to 1000 bytes of text"));

    uint8_t random[4];
    planck_random(random, sizeof random);
    planck_buffer tag = {0}, doc = {0}, line = {0}, place = {0};
    planck_put_hex(&tag, (planck_text){random, sizeof random});
    planck_doc_begin(&doc);
    planck_doc_text(&doc, PLANCK_TEXT("by"), by);
    planck_doc_text(&doc, PLANCK_TEXT("text"), request->body);
    planck_doc_date(&doc, PLANCK_TEXT("at"), planck_now() / 1000);
    planck_doc_text(&doc, PLANCK_TEXT("tag"), planck_all(&tag));
    planck_text pinned = PLANCK_TEXT("");
    planck_header(request, PLANCK_TEXT("x-pinned"), &pinned);
    planck_doc_bool(&doc, PLANCK_TEXT("pinned"), planck_same(pinned, PLANCK_TEXT("yes")));
    planck_doc_double(&doc, PLANCK_TEXT("minutes"), request->body.len / 1000.0);
    planck_key key;
    planck_result made = planck_insert(NOTES, planck_doc_finish(&doc), &key);
    if (made.status != 0) return planck_problem(response, made);

    planck_put(&line, PLANCK_TEXT("a note by "));
    planck_put(&line, by);
    planck_log(PLANCK_INFO, planck_all(&line));
    planck_put(&place, PLANCK_TEXT("/notes/"));
    planck_put_hex(&place, planck_key_bytes(&key));
    response->status = 201;
    json(response);
    planck_add_header(response, PLANCK_TEXT("location"), planck_all(&place));
    planck_put(&response->body, PLANCK_TEXT("{\"key\":\""));
    planck_put_hex(&response->body, planck_key_bytes(&key));
    planck_put(&response->body, PLANCK_TEXT("\"}"));
}

/* 1 to 100, or 0 if it is none of these. */
static int64_t limit_of(planck_text digits) {
    int64_t limit = 0;
    for (uint32_t i = 0; i < digits.len; i++) {
        if (i == 3 || digits.at[i] < '0' || digits.at[i] > '9') return 0;
        limit = 10 * limit + (digits.at[i] - '0');
    }
    return limit <= 100 ? limit : 0;
}

static void list(const planck_request *request, planck_response *response) {
    planck_text by = PLANCK_TEXT(""), digits = PLANCK_TEXT("20");
    if (!name_of(request, PLANCK_TEXT("by"), &by, response)) return;
    planck_parameter(request, PLANCK_TEXT("limit"), &digits);
    int64_t limit = limit_of(digits);
    if (limit == 0) return planck_refuse(response, 400, PLANCK_TEXT("limit is a number from 1 to 100"));

    planck_buffer parameters = {0};
    planck_doc_begin(&parameters);
    planck_doc_int(&parameters, PLANCK_TEXT("1"), limit);
    planck_text query = PLANCK_TEXT("notes.orderBy(at desc).limit($1)");
    if (by.len > 0) {
        query = PLANCK_TEXT("notes.filter(by = $2).orderBy(at desc).limit($1)");
        planck_doc_text(&parameters, PLANCK_TEXT("2"), by);
    }
    planck_rows rows;
    planck_result found = planck_query(query, planck_doc_finish(&parameters), &rows);
    if (found.status != 0) return planck_problem(response, found);

    json(response);
    planck_put(&response->body, PLANCK_TEXT("{\"notes\":["));
    planck_key key;
    planck_text doc;
    for (bool first = true; planck_next(&rows, &key, &doc); first = false) {
        if (!first) planck_put(&response->body, PLANCK_TEXT(","));
        put_note(&response->body, key, doc);
    }
    planck_put(&response->body, PLANCK_TEXT("]}"));
}

/* All notes, the oldest first, a line each. They leave a page at a time; so a failure has a
 * status of its own as long as nothing has left. */
static void lines(const planck_request *request, planck_response *response) {
    planck_text by = PLANCK_TEXT("");
    if (!name_of(request, PLANCK_TEXT("by"), &by, response)) return;
    planck_add_header(response, PLANCK_TEXT("content-type"), PLANCK_TEXT("application/x-ndjson"));
    planck_key last = {0};
    for (bool begun = false;; begun = true) {
        planck_next_piece();
        planck_buffer after = {0}, parameters = {0}, piece = {0};
        planck_put_hex(&after, planck_key_bytes(&last));
        planck_doc_begin(&parameters);
        planck_doc_text(&parameters, PLANCK_TEXT("1"), planck_all(&after));
        planck_text query = PLANCK_TEXT("notes.filter(key > $1).limit(100)");
        if (by.len > 0) {
            query = PLANCK_TEXT("notes.filter(key > $1 and by = $2).limit(100)");
            planck_doc_text(&parameters, PLANCK_TEXT("2"), by);
        }
        planck_rows rows;
        planck_result found = planck_query(query, planck_doc_finish(&parameters), &rows);
        if (found.status != 0) return planck_problem(response, found);
        if (!begun && !planck_begin(response)) return;

        uint32_t count = 0;
        planck_text doc;
        for (; planck_next(&rows, &last, &doc); count++) {
            put_note(&piece, last, doc);
            planck_put(&piece, PLANCK_TEXT("\n"));
        }
        if (count > 0 && !planck_write(planck_all(&piece))) return;
        if (count < 100) return;
    }
}

static void show(planck_key key, planck_response *response) {
    planck_text doc;
    planck_result found = planck_read(NOTES, key, &doc);
    if (found.status != 0) return planck_problem(response, found);
    json(response);
    put_note(&response->body, key, doc);
}

static void send(planck_key key, const planck_request *request, planck_response *response) {
    planck_text to = PLANCK_TEXT(""), doc, answer;
    if (!name_of(request, PLANCK_TEXT("to"), &to, response)) return;
    if (to.len == 0) return planck_refuse(response, 400, PLANCK_TEXT("say where to: ?to=SERVICE"));
    planck_result found = planck_read(NOTES, key, &doc);
    if (found.status != 0) return planck_problem(response, found);
    planck_buffer packet = {0};
    planck_put_request(&packet, PLANCK_TEXT("POST"), PLANCK_TEXT("/"), text_in(doc, PLANCK_TEXT("text")));
    planck_result sent = planck_call_service(to, planck_all(&packet), &answer);
    if (sent.status != 0) return planck_problem(response, sent);
    response->status = 202;
}

void planck_handle(const planck_request *request, planck_response *response) {
    planck_text path = request->path, prefix = PLANCK_TEXT("/notes/");
    bool get = planck_same(request->method, PLANCK_TEXT("GET"));
    bool post = planck_same(request->method, PLANCK_TEXT("POST"));
    if (planck_same(path, PLANCK_TEXT("/notes"))) {
        if (get) return list(request, response);
        if (post) return add(request, response);
    }
    if (get && planck_same(path, PLANCK_TEXT("/notes/lines"))) return lines(request, response);
    planck_key key;
    if (planck_starts(path, prefix) && path.len >= prefix.len + 32 &&
        planck_key_parse((planck_text){path.at + prefix.len, 32}, &key)) {
        planck_text rest = {path.at + prefix.len + 32, path.len - prefix.len - 32};
        if (get && rest.len == 0) return show(key, response);
        if (post && planck_same(rest, PLANCK_TEXT("/send"))) return send(key, request, response);
    }
    planck_refuse(response, 404, PLANCK_TEXT("there is no such page"));
}
