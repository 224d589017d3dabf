# Writes OUTPUT: the text of each kernel source in FOLDER as a C array, and one table of them sorted by name.
file(GLOB sources ${FOLDER}/*.cl ${FOLDER}/*.h)
list(SORT sources)
set(arrays "")
set(rows "")
set(count 0)
foreach(source IN LISTS sources)
    get_filename_component(name ${source} NAME)
    file(READ ${source} bytes HEX)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
    string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
    string(APPEND arrays "static const unsigned char source_${count}[] = {${bytes}0};\n")
    string(APPEND rows "    {\"${name}\", (const char *)source_${count}, sizeof source_${count} - 1},\n")
    math(EXPR count "${count} + 1")
endforeach()
file(WRITE ${OUTPUT} "/* Generated from cl_kernels by cmake/embed_kernels.cmake. */\n#include \"cl/kernel_sources.h\"\n\n${arrays}\n"
    "const slad_kernel_source slad_kernel_sources[] = {\n${rows}    {0, 0, 0},\n};\n"
    "const size_t slad_kernel_source_count = ${count};\n")
