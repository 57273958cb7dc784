#include "consumer/codec.h"

static const struct codec *const codecs[] = {
    [FORMAT_AVRO] = &codec_avro, [FORMAT_CSV] = &codec_csv, [FORMAT_LIBSVM] = &codec_libsvm,
    [FORMAT_JSON] = &codec_json, [FORMAT_F32] = &codec_f32,
};

const struct codec *codec_find(uint32_t format)
{
    CHECK(format < sizeof codecs / sizeof *codecs);
    return codecs[format];
}
