#!/bin/sh
# Model folders that are not what they should be: exit code 3, and the file with its tensor or field is named.
# shellcheck source=tests/cli/expect.sh disable=SC2086 # $pair and its like are words
. "$(dirname "$0")/expect.sh"
make_pair
make_data

# Trains with the model in ./bad for a student; nothing may be left but an empty folder.
refused()
{
    run 3 train --method lora --student bad --data data --out run --steps 1
    says "$@"
    check "the run's folder is not empty" rmdir run
    rm -rf bad
}

fresh()
{
    rm -rf bad
    cp -R student bad
}

# config REPLACED REPLACEMENT: a config.json with another value, or none.
config()
{
    fresh
    sed "s/$1/$2/" student/config.json >bad/config.json
    ! cmp -s student/config.json bad/config.json || complain "config.json has no $1"
}

# header JSON BYTES: a model.safetensors of this header.
header()
{
    fresh
    "$inputs" raw bad/model.safetensors "$1" "$2" || exit 1
}

for student in nowhere student/config.json /dev/null ""; do
    run 3 train --method lora --student "$student" --data data --out run --steps 1
    says "$student" folder
    rmdir run
done
mkdir bad
refused bad/config.json
fresh
rm bad/model.safetensors
refused bad model.safetensors

fresh
: >bad/model.safetensors
refused bad/model.safetensors
fresh
head -c 1000 student/model.safetensors >bad/model.safetensors
refused bad/model.safetensors truncated
fresh
head -c 9000 student/model.safetensors >bad/model.safetensors
refused bad/model.safetensors truncated
fresh
printf x >>bad/model.safetensors
refused bad/model.safetensors
fresh
printf '\377\377\377\377\377\377\377\177{}' >bad/model.safetensors
refused bad/model.safetensors
fresh
rm bad/model.safetensors
mkdir bad/model.safetensors
refused bad/model.safetensors folder
header '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}' 12
refused bad/model.safetensors '"b"' overlaps
header '{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}' 16
refused bad/model.safetensors '"a"' hole
header '{"a":{"dtype":"F32","shape":[9007199254740991,9007199254740991],"data_offsets":[0,8]}}' 8
refused bad/model.safetensors '"a"'
header '{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}' 8
refused bad/model.safetensors '"a"' F31
header '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 8
refused bad/model.safetensors
header 'no JSON at all' 0
refused bad/model.safetensors
header '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 8
refused cls_token bad

fresh
: >bad/config.json
refused bad/config.json
fresh
echo 'no JSON at all' >bad/config.json
refused bad/config.json
fresh
head -c 100 student/config.json >bad/config.json
refused bad/config.json
config '"hidden_size": 16,' ''
refused bad/config.json '"hidden_size" is missing' bad/model.safetensors
config '"num_hidden_layers": 1,' ''
refused bad/config.json '"num_hidden_layers" is missing'
config '"model_type": "dinov2", ' ''
refused bad/config.json '"model_type"'
config '"dinov2"' '"clip"'
refused bad/config.json '"model_type"' clip
config '"hidden_size": 16' '"hidden_size": 32'
refused '"hidden_size"' bad/model.safetensors embeddings.cls_token
config '"num_hidden_layers": 1' '"num_hidden_layers": 2'
refused '"num_hidden_layers"' encoder.layer.1. bad
config '"num_hidden_layers": 1' '"num_hidden_layers": "one"'
refused bad/config.json '"num_hidden_layers"'
config '"num_attention_heads": 2' '"num_attention_heads": 3'
refused bad/config.json '"num_attention_heads"'
config '"num_attention_heads": 2' '"num_attention_heads": 0'
refused bad/config.json '"num_attention_heads"'
config '"num_attention_heads": 2' '"num_attention_heads": 4'
refused bad config.json '"hidden_size" 16' '"num_attention_heads" 4' "heads of 4" "multiples of 8"
config '"mlp_ratio": 4' '"mlp_ratio": 3'
refused '"mlp_ratio"' mlp.fc1
config '"patch_size": 14' '"patch_size": 7'
refused '"patch_size"' projection.weight
config '"patch_size": 14' '"patch_size": 1e99'
refused bad/config.json '"patch_size"'
config '"image_size": 28' '"image_size": 7'
refused bad/config.json '"image_size"'
config '"qkv_bias": true' '"qkv_bias": 1'
refused bad/config.json '"qkv_bias"'

fresh
echo '{"size": {"shortest_edge": 28}, "crop_size": {"height": 0, "width": 28}}' >bad/preprocessor_config.json
refused bad/preprocessor_config.json height
fresh
echo '{' >bad/preprocessor_config.json
refused bad/preprocessor_config.json

config '"dinov2"' '"vit"'
refused bad layernorm_before
config '"dinov2"' '"dinov2_with_registers"'
refused bad register_tokens

# Single files: what hub pickles, and what is in nobody's naming.
fresh
rm bad/config.json
refused bad/model.safetensors patch_embed.proj.weight config.json
cp student/model.safetensors single.safetensors
echo pickle >single.pth
for file in single.safetensors single.pth; do
    run 3 train --method lora --student $file --data data --out run --steps 1
    says $file safetensors
    rmdir run
done

# Shards: the index names a file outside the folder, one that is missing, and one without the tensor.
for shard in ../student/model.safetensors gone.safetensors; do
    fresh
    mv bad/model.safetensors bad/one.safetensors
    echo "{\"weight_map\": {\"embeddings.cls_token\": \"$shard\"}}" >bad/model.safetensors.index.json
    refused bad "$(basename $shard .safetensors)"
done
fresh
mv bad/model.safetensors bad/one.safetensors
echo '{"weight_map": {"embeddings.nothing": "one.safetensors"}}' >bad/model.safetensors.index.json
refused bad/model.safetensors.index.json embeddings.nothing

# A folder or file that may not be read. Permissions do not stop root.
if [ "$(id -u)" -ne 0 ]; then
    fresh
    chmod 0 bad/config.json
    refused bad/config.json
    fresh
    chmod 0 bad
    run 3 train --method lora --student bad --data data --out run --steps 1
    says bad
    chmod 700 bad
else
    skip "unreadable folders: root reads everything"
fi

# The same refusals elsewhere.
run 3 eval nowhere --data data
says nowhere
run 3 eval student --data data
says student classifier
run 3 predict student data/val/class-0/0.png
says student classifier
run 3 features nowhere --data data --out f
says nowhere
run 3 train --teacher nowhere --student student --data data --out run
says nowhere

# A run whose files were tampered with.
run 0 train --teacher teacher --student student --data data --out good --steps 1 --batch 4
tampered()
{
    run 3 eval tampered --data data
    says "$@"
    rm -rf tampered
    cp -R good tampered
}
cp -R good tampered
: >tampered/config.json
tampered tampered/config.json
sed 's/"lora-rank":[^,]*,/"lora-rank": 0,/' good/config.json >tampered/config.json
tampered tampered/config.json --lora-rank
sed 's/"class-2"/"class-2", "class-3"/' good/config.json >tampered/config.json
tampered tampered/config.json classes
sed 's/"method"/"methodical"/' good/config.json >tampered/config.json
tampered tampered/config.json methodical
head -c 3000 good/state.safetensors >tampered/state.safetensors
tampered tampered/state.safetensors
rm -r tampered/student
tampered tampered student "slad export"
rm tampered/student/* # as a full disk leaves it
tampered tampered student "slad export"
sed "s|\"teacher\":[^,]*,|\"teacher\": \"$PWD/tampered\",|" good/config.json |
    sed 's/"teacher-adapt":[^,]*,/"teacher-adapt": "frozen",/; s/"share":[^,]*,/"share": "none",/' >tampered/config.json
tampered tampered/config.json circle

# Tensors to start from.
run 3 train --teacher teacher --student student --data data --out run --init nowhere --steps 1
says nowhere
run 3 train --teacher teacher --student student --data data --out run --init student/model.safetensors --steps 1
says student/model.safetensors embeddings.cls_token
run 3 train --teacher teacher --student student --data data --out run --init good/state.safetensors --lora-rank 4 --steps 1
says good/state.safetensors lora_A
finish
