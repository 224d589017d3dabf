/* What hub (facebookresearch/dinov2) and timm call the tensors of transformers, for tests that make files in their
 * naming: each part of a name by the part of theirs. */
#ifndef SLAD_TESTS_OWN_NAMES_H
#define SLAD_TESTS_OWN_NAMES_H

#include "io/hugging_face.h"
#include <stdio.h>
#include <string.h>

/* out holds SLAD_HF_NAME_SIZE bytes. Query stands for query, key and value, which these files hold in one tensor. */
static inline void own_name(char *out, slad_hf_naming naming, const char *name)
{
    static const struct {
        const char *from, *hub, *timm;
    } parts[] = {
        {"embeddings.patch_embeddings.projection", "patch_embed.proj", "patch_embed.proj"},
        {"embeddings.position_embeddings", "pos_embed", "pos_embed"},
        {"embeddings.register_tokens", "register_tokens", "reg_token"},
        {"embeddings.", "", ""},
        {"encoder.layer.", "blocks.", "blocks."},
        {"attention.attention.query", "attn.qkv", "attn.qkv"},
        {"attention.output.dense", "attn.proj", "attn.proj"},
        {"layer_scale1.lambda1", "ls1.gamma", "ls1.gamma"},
        {"layer_scale2.lambda1", "ls2.gamma", "ls2.gamma"},
        {"mlp.weights_in", "mlp.w12", "mlp.fc1"},
        {"mlp.weights_out", "mlp.w3", "mlp.fc2"},
        {"intermediate.dense", "mlp.fc1", "mlp.fc1"},
        {"output.dense", "mlp.fc2", "mlp.fc2"},
        {"layernorm_before", "norm1", "norm1"},
        {"layernorm_after", "norm2", "norm2"},
        {"layernorm", "norm", "norm"},
    };
    (void)snprintf(out, SLAD_HF_NAME_SIZE, "%.*s", SLAD_HF_NAME_SIZE - 1, name);
    for (size_t i = 0; i < sizeof parts / sizeof *parts && naming != SLAD_HF_TRANSFORMERS; i++) {
        char *at = strstr(out, parts[i].from);
        char rest[SLAD_HF_NAME_SIZE];
        if (!at) continue;
        (void)snprintf(rest, sizeof rest, "%s%.60s", naming == SLAD_HF_HUB ? parts[i].hub : parts[i].timm,
                       at + strlen(parts[i].from));
        memcpy(at, rest, strlen(rest) + 1); /* never longer than what it replaces */
    }
}

#endif
