/* Folders of PEFT of made-up values, for tests of what reads them. */
#ifndef SLAD_TESTS_PEFT_FOLDER_H
#define SLAD_TESTS_PEFT_FOLDER_H

#include "formula.h"

enum { MADE_MOST = 16 };

/* A folder of made-up tensors. */
typedef struct made_peft {
    slad_safetensors_entry entries[MADE_MOST];
    char names[MADE_MOST][192];
    uint64_t shapes[MADE_MOST][2];
    float *values[MADE_MOST];
    size_t count;
} made_peft;

static inline void made_add(made_peft *list, const char *name, uint64_t rows, uint64_t columns)
{
    const size_t slot = list->count++;
    const size_t elements = (size_t)(rows * (columns ? columns : 1));
    assert_true(slot < MADE_MOST);
    (void)snprintf(list->names[slot], sizeof list->names[slot], "base_model.model.%s", name);
    list->shapes[slot][0] = rows;
    list->shapes[slot][1] = columns;
    list->values[slot] = malloc(elements * sizeof(float) + 1);
    assert_non_null(list->values[slot]);
    formula_tensor(list->values[slot], elements, name, 1.0, 0);
    list->entries[slot] = (slad_safetensors_entry){list->names[slot], SLAD_SAFETENSORS_F32, columns ? 2 : 1,
                                                   list->shapes[slot], list->values[slot]};
}

/* lora_A [rank, inputs] and lora_B [outputs, rank] of a module. */
static inline void made_add_pair(made_peft *list, const char *module, uint64_t rank, uint64_t inputs, uint64_t outputs)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s.lora_A.weight", module);
    made_add(list, name, rank, inputs);
    (void)snprintf(name, sizeof name, "%s.lora_B.weight", module);
    made_add(list, name, outputs, rank);
}

static inline void made_free(made_peft *list)
{
    for (size_t i = 0; i < list->count; i++) free(list->values[i]);
    list->count = 0;
}

/* Writes the folder "peft" with a configuration that has these fields behind peft_type. */
static inline void made_write(scratch *own, const made_peft *list, const char *fields)
{
    char text[1024];
    const int length = snprintf(text, sizeof text, "{\"peft_type\": \"LORA\"%s%s}", *fields ? ", " : "", fields);
    assert_int_equal(slad_directory_create(own->context, scratch_path(own, "peft")), SLAD_OK);
    assert_int_equal(
        slad_file_write_all(own->context, scratch_path(own, "peft/adapter_config.json"), text, (size_t)length),
        SLAD_OK);
    assert_int_equal(slad_safetensors_write(own->context, scratch_path(own, "peft/adapter_model.safetensors"),
                                            list->entries, list->count, NULL, 0),
                     SLAD_OK);
}

#endif
