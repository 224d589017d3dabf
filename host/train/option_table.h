/* The table behind the training options' names: where each lies and how its text is read. */
#ifndef SLAD_TRAIN_OPTION_TABLE_H
#define SLAD_TRAIN_OPTION_TABLE_H

#include "slad/train.h"

typedef enum slad_option_kind {
    KIND_ABSENT,
    KIND_U32,
    KIND_AUTO_U32,  /* "auto" is 0 */
    KIND_MEBIBYTES, /* N, or NG of 1024; "auto" is 0 */
    KIND_U64,
    KIND_NUMBER,
    KIND_PAIR, /* LOW,HIGH */
    KIND_SWITCH,
    KIND_METHOD,
    KIND_CHOICE,
    KIND_MAP,     /* a choice, or a list of layers */
    KIND_INTERVAL /* N steps, or Nm minutes */
} slad_option_kind;

typedef struct slad_option_row {
    slad_option option;
    slad_option_kind kind;
    size_t offset;          /* of the field */
    const char *choices[9]; /* by the enumeration's value */
} slad_option_row;

extern const slad_option_row slad_option_rows[];
extern const size_t slad_option_row_count;

#endif
