/* Documents behind planck.h: BSON, as docs/protocol.md has it. */
#include "internal.h"

void planck_doc_begin(planck_buffer *doc) { planck_put_int(doc, 0, 4); }

static void field(planck_buffer *doc, uint8_t type, planck_text name) {
    planck_put_byte(doc, type);
    planck_put(doc, name);
    planck_put_byte(doc, 0);
}

void planck_doc_text(planck_buffer *doc, planck_text name, planck_text value) {
    field(doc, 2, name);
    planck_put_int(doc, (uint64_t)value.len + 1, 4);
    planck_put(doc, value);
    planck_put_byte(doc, 0);
}

void planck_doc_int(planck_buffer *doc, planck_text name, int64_t value) {
    field(doc, 18, name);
    planck_put_int(doc, (uint64_t)value, 8);
}

void planck_doc_date(planck_buffer *doc, planck_text name, int64_t millis) {
    field(doc, 9, name);
    planck_put_int(doc, (uint64_t)millis, 8);
}

void planck_doc_double(planck_buffer *doc, planck_text name, double value) {
    uint64_t bits;
    __builtin_memcpy(&bits, &value, 8);
    field(doc, 1, name);
    planck_put_int(doc, bits, 8);
}

void planck_doc_bool(planck_buffer *doc, planck_text name, bool value) {
    field(doc, 8, name);
    planck_put_byte(doc, value);
}

planck_text planck_doc_finish(planck_buffer *doc) {
    planck_put_byte(doc, 0);
    for (uint32_t i = 0; i < 4; i++) doc->at[i] = (uint8_t)(doc->len >> (8 * i));
    return planck_all(doc);
}

static planck_text until_nul(planck_reader *in) {
    uint32_t len = 0;
    while (len < in->rest.len && in->rest.at[len] != 0) len++;
    planck_text name = planck_bytes(in, len);
    planck_bytes(in, 1);
    return name;
}

/* The bytes of a value of that type. */
static planck_text value_of(planck_reader *in, uint8_t type) {
    planck_reader ahead = *in;
    uint32_t len;
    switch (type) {
    case 6: case 10: case 0x7f: case 0xff: return planck_bytes(in, 0);
    case 8: return planck_bytes(in, 1);
    case 16: return planck_bytes(in, 4);
    case 1: case 9: case 17: case 18: return planck_bytes(in, 8);
    case 7: return planck_bytes(in, 12);
    case 19: return planck_bytes(in, 16);
    case 3: case 4: return planck_bytes(in, (uint32_t)planck_int(&ahead, 4));
    case 2: case 5:
        len = (uint32_t)planck_int(&ahead, 4);
        return planck_bytes(in, len > UINT32_MAX - 5 ? UINT32_MAX : len + (type == 2 ? 4 : 5));
    case 11:
        len = in->rest.len;
        until_nul(&ahead);
        until_nul(&ahead);
        return planck_bytes(in, ahead.bad ? UINT32_MAX : len - ahead.rest.len);
    default: return planck_bytes(in, UINT32_MAX); /* unknown: nothing behind it can be read */
    }
}

bool planck_field(planck_text doc, planck_text name, planck_value *value) {
    planck_reader in = {doc, false};
    planck_int(&in, 4);
    for (;;) {
        uint8_t type = (uint8_t)planck_int(&in, 1);
        if (in.bad || type == 0) return false;
        planck_text found = until_nul(&in);
        planck_text its = value_of(&in, type);
        if (!in.bad && planck_same(found, name)) {
            *value = (planck_value){type, its};
            return true;
        }
    }
}

planck_text planck_as_text(planck_value value) {
    if (value.type != 2 || value.bytes.len < 5) return PLANCK_TEXT("");
    return (planck_text){value.bytes.at + 4, value.bytes.len - 5};
}

int64_t planck_as_int(planck_value value) {
    planck_reader in = {value.bytes, false};
    if (value.type == 16) return (int32_t)planck_int(&in, 4);
    return value.type == 18 || value.type == 9 ? (int64_t)planck_int(&in, 8) : 0;
}

double planck_as_double(planck_value value) {
    planck_reader in = {value.bytes, false};
    uint64_t bits = value.type == 1 ? planck_int(&in, 8) : 0;
    double number;
    __builtin_memcpy(&number, &bits, 8);
    return number;
}

bool planck_as_bool(planck_value value) { return value.type == 8 && value.bytes.at[0] != 0; }
