#include "consumer/codec.h"

static const struct codec *const codecs[] = {
    [FORMAT_AVRO] = &codec_avro,
    [FORMAT_CSV] = &codec_csv,
    [FORMAT_LIBSVM] = &codec_libsvm,
};

const struct codec *codec_find(uint32_t format)
{
    CHECK(format < sizeof codecs / sizeof *codecs);
    return codecs[format];
}
