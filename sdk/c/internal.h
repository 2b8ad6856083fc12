/* What the files of the SDK share, and a guest has no use for. */
#ifndef PLANCK_INTERNAL_H
#define PLANCK_INTERNAL_H

#include "planck.h"

/* Memory of this call. */
uint8_t *planck_take(uint32_t len);

void planck_put_byte(planck_buffer *out, uint8_t byte);
/* The lowest `bytes` bytes of a number, the lowest first. */
void planck_put_int(planck_buffer *out, uint64_t number, uint32_t bytes);

/* Reads within bounds; what is not there is empty, or 0, and `bad` is set. */
typedef struct {
    planck_text rest;
    bool bad;
} planck_reader;

planck_text planck_bytes(planck_reader *in, uint32_t len);
/* A number of so many bytes, at most 8. */
uint64_t planck_int(planck_reader *in, uint32_t len);
/* Bytes behind their length in two. */
planck_text planck_text16(planck_reader *in);

#endif
