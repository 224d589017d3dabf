/* How trained tensors stand in files: names, parts, shapes. */
#ifndef SLAD_TRAIN_TRAINED_FILES_H
#define SLAD_TRAIN_TRAINED_FILES_H

#include "train/trainer.h"

enum { SLAD_TRAINED_NAME = 160 };

/* A trained tensor is one tensor of a file, or several of equal size: one named "x.{query,key,value}.weight" holds
 * three matrices one below the other, x.query.weight first. */
size_t slad_trained_parts(const slad_tensor *tensor);
/* The name of a part after a prefix; text [SLAD_TRAINED_NAME]. */
void slad_trained_part_name(char *text, const char *prefix, const slad_tensor *tensor, size_t part);
/* The shape that files show of a part; returns its rank. lora_B's blocks are one below the other; an encoder's own
 * weights have the shapes of Hugging Face's files. */
size_t slad_trained_part_shape(uint64_t shape[SLAD_HF_MAX_RANK], const slad_trainer *trainer,
                               const slad_tensor *tensor);
/* The trained tensor of this name without a prefix, and which part of it; NULL if there is none. */
const slad_tensor *slad_trained_find_part(size_t *part, const slad_store *store, const char *name);

/* Reads a part from one of the slabs of its tensor, or writes it there; elements(part) floats. Waits. */
slad_status slad_trained_read_part(slad_context *context, float *values, slad_executor *executor,
                                   const slad_tensor *tensor, size_t part, slad_slab_kind kind);
slad_status slad_trained_write_part(slad_context *context, slad_executor *executor, const slad_tensor *tensor,
                                    size_t part, slad_slab_kind kind, const float *values);

#endif
