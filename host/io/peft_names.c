/* The names that layers have in models of transformers, of the hub and of timm (method.md sections 6.2 and 12.2). */
#include "io/peft_internal.h"
#include <string.h>

typedef struct slad_peft_naming {
    const char *path; /* inside a layer */
    slad_peft_target target;
} slad_peft_naming;

static const slad_peft_naming namings[] = {
    /* hub and timm */
    {"attn.qkv", SLAD_PEFT_QKV},
    {"attn.proj", SLAD_PEFT_PROJ},
    {"mlp.w12", SLAD_PEFT_FC1},
    {"mlp.w3", SLAD_PEFT_FC2},
    /* all */
    {"mlp.fc1", SLAD_PEFT_FC1},
    {"mlp.fc2", SLAD_PEFT_FC2},
    /* transformers before version 5 */
    {"attention.attention.query", SLAD_PEFT_Q},
    {"attention.attention.key", SLAD_PEFT_K},
    {"attention.attention.value", SLAD_PEFT_V},
    {"attention.output.dense", SLAD_PEFT_PROJ},
    {"intermediate.dense", SLAD_PEFT_FC1},
    {"output.dense", SLAD_PEFT_FC2},
    {"mlp.weights_in", SLAD_PEFT_FC1},
    {"mlp.weights_out", SLAD_PEFT_FC2},
    /* transformers since version 5 */
    {"attention.q_proj", SLAD_PEFT_Q},
    {"attention.k_proj", SLAD_PEFT_K},
    {"attention.v_proj", SLAD_PEFT_V},
    {"attention.o_proj", SLAD_PEFT_PROJ},
    {"mlp.gate_proj", SLAD_PEFT_GATE},
    {"mlp.up_proj", SLAD_PEFT_UP},
    {"mlp.down_proj", SLAD_PEFT_FC2},
};

const char *slad_peft_target_name(slad_peft_target target)
{
    static const char *const names[SLAD_PEFT_TARGETS] = {"qkv", "q", "k", "v", "proj", "fc1", "gate", "up", "fc2"};
    return names[target];
}

/* Goes past one of the texts if the path starts with it. */
static bool skip_one(const char **path, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(texts[i]);
        if (strncmp(*path, texts[i], length) != 0) continue;
        *path += length;
        return true;
    }
    return false;
}

bool slad_peft_find_module(size_t *layer, slad_peft_target *target, const char *path)
{
    static const char *const models[] = {"dinov2.", "dinov2_with_registers.", "vit."};
    static const char *const lists[] = {"encoder.layer.", "layers.", "blocks."};
    enum { DIGITS = 4 };
    size_t number = 0, digits = 0;
    (void)skip_one(&path, models, sizeof models / sizeof *models);
    if (!skip_one(&path, lists, sizeof lists / sizeof *lists)) return false;
    for (; digits < DIGITS && path[digits] >= '0' && path[digits] <= '9'; digits++)
        number = 10 * number + (size_t)(path[digits] - '0');
    if (digits == 0 || path[digits] != '.' || (digits > 1 && path[0] == '0')) return false;
    for (size_t i = 0; i < sizeof namings / sizeof *namings; i++) {
        if (strcmp(path + digits + 1, namings[i].path) != 0) continue;
        *layer = number;
        *target = namings[i].target;
        return true;
    }
    return false;
}
