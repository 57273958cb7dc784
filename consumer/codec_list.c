#include "consumer/codec.h"
const struct codec *codec_find(uint32_t format)
{
    return format == FORMAT_CSV ? &codec_csv : &codec_libsvm;
}
