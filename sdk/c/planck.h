/* What a guest written in C needs: requests, responses, and the service's own stores as
 * function calls. For clang, --target=wasm32-unknown-unknown, with no libc.
 *
 * A guest defines planck_start and planck_handle; planck.c exports the rest of the guest
 * ABI (docs/abi.md).
 *
 * What must stay true:
 *   - All memory a call takes is in one arena, which is emptied when the next call begins.
 *     Nothing is freed (but see planck_next_piece), and no pointer may be kept from one call
 *     to the next.
 *   - Bytes are read within their bounds, whoever they come from. Text is bytes with a
 *     length: it has no NUL behind it, and may hold one.
 *   - When memory ends, the call does, and the host says so in its log. */
#ifndef PLANCK_H
#define PLANCK_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes of somebody else. */
typedef struct {
    const uint8_t *at;
    uint32_t len;
} planck_text;

/* A literal as text. */
#define PLANCK_TEXT(literal) ((planck_text){(const uint8_t *)("" literal), sizeof(literal) - 1})

bool planck_same(planck_text a, planck_text b);
bool planck_starts(planck_text text, planck_text with);

/* Bytes that grow, in the arena. Begin with one that is all zeros. */
typedef struct {
    uint8_t *at;
    uint32_t len, cap;
} planck_buffer;

void planck_put(planck_buffer *out, planck_text text);
void planck_put_number(planck_buffer *out, int64_t number);
/* As lower case digits of base 16. */
void planck_put_hex(planck_buffer *out, planck_text bytes);
/* A JSON string, its quotes too. */
void planck_put_json(planck_buffer *out, planck_text text);
planck_text planck_all(const planck_buffer *buffer);

/* ---- HTTP ---- */

typedef struct {
    planck_text method; /* GET, POST, .. */
    planck_text path;   /* without the query */
    planck_text query;  /* behind the '?', or empty */
    planck_text peer;   /* address of the client */
    planck_text body;
    planck_text headers; /* see planck_header */
} planck_request;

/* The value of a header, named in lower case; false if it is not there. */
bool planck_header(const planck_request *request, planck_text name, planck_text *value);
/* The value of a parameter of the query, as it was sent; false if it is not there. */
bool planck_parameter(const planck_request *request, planck_text name, planck_text *value);

typedef struct {
    uint16_t status; /* 200 when a handler is called */
    uint16_t header_count;
    bool broken; /* set: what planck_begin has sent breaks off */
    planck_buffer headers, body;
} planck_response;

/* Adds a header; false if name or value are longer than HTTP's 65,535 bytes here. */
bool planck_add_header(planck_response *response, planck_text name, planck_text value);

/* Sends status, headers and what there is of the body now, and empties the body. More goes
 * by planck_write while the handler runs; what it leaves in the body is the last piece.
 * What the call has written so far takes effect first, and what it reads from then on is of
 * a later moment. False: the client has gone, or others changed what the call had read and
 * the host runs it again; either way the handler returns, with whatever it likes. */
bool planck_begin(planck_response *response);
/* Sends the next piece, behind planck_begin. False: as above. */
bool planck_write(planck_text piece);
/* Work that goes on piece by piece begins the next one: what was taken since the last one
 * began is given back. It may not be used any more, nor may a buffer that grew since. */
void planck_next_piece(void);

/* ---- Documents (BSON) ---- */

/* A document being written: begin, fields, finish. A field's name must hold no NUL. */
void planck_doc_begin(planck_buffer *doc);
void planck_doc_text(planck_buffer *doc, planck_text name, planck_text value);
void planck_doc_int(planck_buffer *doc, planck_text name, int64_t value);
void planck_doc_double(planck_buffer *doc, planck_text name, double value);
void planck_doc_bool(planck_buffer *doc, planck_text name, bool value);
/* Milliseconds since 1970. */
void planck_doc_date(planck_buffer *doc, planck_text name, int64_t millis);
planck_text planck_doc_finish(planck_buffer *doc);

/* A field of a document. `type` is BSON's: 1 double, 2 string, 8 bool, 9 date, 16 int32, 18 int64. */
typedef struct {
    uint8_t type;
    planck_text bytes;
} planck_value;

bool planck_field(planck_text doc, planck_text name, planck_value *value);
/* The text of a string; empty if it is none. */
planck_text planck_as_text(planck_value value);
/* The number of an int32, int64 or date; 0 if it is none. */
int64_t planck_as_int(planck_value value);
/* The number of a double; 0 if it is none. */
double planck_as_double(planck_value value);
/* Whether it is a bool, and true. */
bool planck_as_bool(planck_value value);

/* ---- The service's data ---- */

typedef struct {
    uint8_t bytes[16];
} planck_key;

/* A key out of its 32 digits; false if they are none. */
bool planck_key_parse(planck_text digits, planck_key *key);
planck_text planck_key_bytes(const planck_key *key);

/* How a request to the data went. 0 is success; others are those of docs/protocol.md. */
typedef struct {
    uint16_t status;
    planck_text message;
} planck_result;

#define PLANCK_NOT_FOUND 1301

planck_result planck_create_store(planck_text store);
/* Adds a document under a new key. */
planck_result planck_insert(planck_text store, planck_text doc, planck_key *key);
planck_result planck_read(planck_text store, planck_key key, planck_text *doc);
/* Has a job run once this call is committed: a document, {path, upstream?, payload?, in_ms?, ..}, as
   docs/jobs.md has it. */
planck_result planck_schedule(planck_text job, planck_key *key);

/* The rows of a query, one page: what fits a reply. */
typedef struct {
    bool keyed;
    uint32_t left;
    planck_text bytes;
} planck_rows;

/* Runs PQL; `parameters` is a document of $1, $2 under the names "1", "2", or empty. */
planck_result planck_query(planck_text text, planck_text parameters, planck_rows *rows);
/* The next row; false when there is none. Its key is zeros if the query gives none. */
bool planck_next(planck_rows *rows, planck_key *key, planck_text *doc);

/* ---- The host ---- */

enum { PLANCK_ERROR, PLANCK_WARN, PLANCK_INFO, PLANCK_DEBUG };
void planck_log(int level, planck_text line);
/* Microseconds since 1970. */
int64_t planck_now(void);
/* At most 65,536 bytes. */
void planck_random(void *bytes, uint32_t len);
/* Sends a packet to an upstream service; its reply is in `reply`. */
planck_result planck_call_service(planck_text name, planck_text packet, planck_text *reply);
/* An HTTP request as a packet for that. */
void planck_put_request(planck_buffer *out, planck_text method, planck_text target, planck_text body);

/* The response to a request that failed so: a problem in JSON. Behind planck_begin it is a
 * line of the log, and the response breaks off. */
void planck_problem(planck_response *response, planck_result result);
/* The same, for what the guest itself refuses. */
void planck_refuse(planck_response *response, uint16_t http_status, planck_text detail);

/* ---- What the guest defines ---- */

/* Once in each instance, before the first request. */
void planck_start(void);
/* One request. */
void planck_handle(const planck_request *request, planck_response *response);

#endif
