/* The names that layers have in models of transformers, of the hub and of timm (method.md sections 6.2 and 12.2). */
#include "io/peft_internal.h"
#include <stdio.h>
#include <string.h>

/* Where a name is written: in models of transformers before version 5, or since, that have a plain MLP, a gated one, or
 * are of type vit. Names without any are read only. */
enum {
    KINDS = 3, /* plain, gated, vit */
    OLD_PLAIN = 1,
    OLD_GATED = 2,
    OLD_VIT = 4,
    NEW_PLAIN = 8,
    NEW_GATED = 16,
    NEW_VIT = 32,
    OLD = OLD_PLAIN | OLD_GATED | OLD_VIT,
    NEW = NEW_PLAIN | NEW_GATED | NEW_VIT
};

typedef struct slad_peft_naming {
    const char *path; /* inside a layer */
    const char *end;  /* of the path: what names it among the modules of a model */
    slad_peft_target target;
    unsigned written;
} slad_peft_naming;

static const slad_peft_naming namings[] = {
    /* hub and timm */
    {"attn.qkv", "qkv", SLAD_PEFT_QKV, 0},
    {"attn.proj", "proj", SLAD_PEFT_PROJ, 0},
    {"mlp.w12", "w12", SLAD_PEFT_FC1, 0},
    {"mlp.w3", "w3", SLAD_PEFT_FC2, 0},
    /* transformers before version 5 */
    {"attention.attention.query", "query", SLAD_PEFT_Q, OLD},
    {"attention.attention.key", "key", SLAD_PEFT_K, OLD},
    {"attention.attention.value", "value", SLAD_PEFT_V, OLD},
    {"attention.output.dense", "attention.output.dense", SLAD_PEFT_PROJ, OLD},
    {"intermediate.dense", "intermediate.dense", SLAD_PEFT_FC1, OLD_VIT},
    {"output.dense", "output.dense", SLAD_PEFT_FC2, OLD_VIT},
    {"mlp.weights_in", "weights_in", SLAD_PEFT_FC1, OLD_GATED},
    {"mlp.weights_out", "weights_out", SLAD_PEFT_FC2, OLD_GATED},
    /* all */
    {"mlp.fc1", "fc1", SLAD_PEFT_FC1, OLD_PLAIN | NEW_PLAIN | NEW_VIT},
    {"mlp.fc2", "fc2", SLAD_PEFT_FC2, OLD_PLAIN | NEW_PLAIN | NEW_VIT},
    /* transformers since version 5 */
    {"attention.q_proj", "q_proj", SLAD_PEFT_Q, NEW},
    {"attention.k_proj", "k_proj", SLAD_PEFT_K, NEW},
    {"attention.v_proj", "v_proj", SLAD_PEFT_V, NEW},
    {"attention.o_proj", "o_proj", SLAD_PEFT_PROJ, NEW},
    {"mlp.gate_proj", "gate_proj", SLAD_PEFT_GATE, NEW_GATED},
    {"mlp.up_proj", "up_proj", SLAD_PEFT_UP, NEW_GATED},
    {"mlp.down_proj", "down_proj", SLAD_PEFT_FC2, NEW_GATED},
};
enum { NAMINGS = sizeof namings / sizeof *namings };

const char *slad_peft_target_name(slad_peft_target target)
{
    static const char *const names[SLAD_PEFT_TARGETS] = {"qkv", "q", "k", "v", "proj", "fc1", "gate", "up", "fc2"};
    return names[target];
}

bool slad_peft_target_of(slad_peft_target *target, slad_hf_role role)
{
    static const struct {
        slad_hf_role role;
        slad_peft_target target;
    } rows[] = {
        {SLAD_HF_QUERY_WEIGHT, SLAD_PEFT_Q},   {SLAD_HF_KEY_WEIGHT, SLAD_PEFT_K},   {SLAD_HF_VALUE_WEIGHT, SLAD_PEFT_V},
        {SLAD_HF_PROJ_WEIGHT, SLAD_PEFT_PROJ}, {SLAD_HF_FC1_WEIGHT, SLAD_PEFT_FC1}, {SLAD_HF_FC2_WEIGHT, SLAD_PEFT_FC2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].role != role) continue;
        *target = rows[i].target;
        return true;
    }
    return false;
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
    for (size_t i = 0; i < NAMINGS; i++) {
        if (strcmp(path + digits + 1, namings[i].path) != 0) continue;
        *layer = number;
        *target = namings[i].target;
        return true;
    }
    return false;
}

/* Whether a name is that of the pair, or of the half of its rows that the gate is, or what it gates. */
static bool covers(const slad_peft_naming *naming, const slad_peft_pair *pair)
{
    const bool half = naming->target == SLAD_PEFT_GATE || naming->target == SLAD_PEFT_UP;
    return naming->target == pair->target || (half && pair->target == SLAD_PEFT_FC1);
}

size_t slad_peft_modules_of(slad_peft_module modules[SLAD_PEFT_MODULES], const slad_peft_adapter *adapter,
                            const slad_peft_pair *pair)
{
    const bool vit = adapter->type == SLAD_HF_VIT;
    const unsigned old = vit ? OLD_VIT : adapter->gated ? OLD_GATED : OLD_PLAIN;
    size_t count = 0;
    for (unsigned version = 0; version < 2; version++)
        for (size_t i = 0; i < NAMINGS; i++) {
            const slad_peft_naming *naming = &namings[i];
            const bool written_before = version == 1 && !vit && (naming->written & old);
            if (!(naming->written & old << version * KINDS) || written_before || !covers(naming, pair)) continue;
            const size_t half = pair->outputs / 2;
            slad_peft_module *module = &modules[count++];
            *module = (slad_peft_module){.target = naming->end, .rows = pair->outputs};
            if (naming->target == SLAD_PEFT_GATE || naming->target == SLAD_PEFT_UP) module->rows = half;
            if (naming->target == SLAD_PEFT_UP) module->first_row = half;
            (void)snprintf(module->path, sizeof module->path, "%s.%zu.%s",
                           vit && version == 1 ? "layers" : "encoder.layer", pair->layer, naming->path);
        }
    return count;
}
