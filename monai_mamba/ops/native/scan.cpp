// The selective scan on a CPU, forward and backward, as two plain C functions.
//
// One lane of a vector is one channel, so the recurrence is plain vector arithmetic. The tokens of a sequence are taken
// a few at a time: their step sizes and inputs are read into a tile first, through the order of the traversal, then the
// states of a few components n at a time run through the tile in registers. Nothing of size tokens x channels x states
// is ever stored.
//
// The forward keeps the state before every chunk of tokens. The backward recomputes the states of a chunk from it, then
// runs through the chunk in reverse. Work is cut into tasks whose results depend on the problem alone, and no two tasks
// write to the same place: the results do not depend on the number of threads.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512DQ__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
// TOKENS, the tokens of a chunk, and COLUMNS, the channels whose kept states lie together, come from the command line.
static_assert(COLUMNS % LANES == 0, "the kept states of a block lie together");
constexpr int TILE = 16;  // tokens of a tile in the forward, which shall stay in the nearest cache with its B and C
static_assert(TOKENS % TILE == 0, "a chunk is made of whole tiles");
constexpr int FEW = 4;   // components n at once, as many as the sixteen registers of AVX2 hold
constexpr int64_t GROUP_BYTES = 131072;  // of the states and their matrix in a group of channel blocks, in the forward
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;

typedef float Vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Bits __attribute__((vector_size(LANES * sizeof(int32_t))));

// Rows of contiguous features, one for each (batch, direction, token); distances in elements.
struct Volume {
    float* data;
    int64_t batch, direction, token;

    float* row(int64_t b, int64_t k, int64_t t) const { return data + b * batch + k * direction + t * token; }
};

struct Problem {
    int64_t batches, directions, length, channels, states;
    int64_t softplus;      // delta passes through softplus
    int64_t merge;         // y is summed over the directions
    int64_t groups;        // of channel blocks; given in the backward, chosen in the forward
    const int64_t* order;  // (K, L), or null
    const float* A;        // (K, E, N)
    const float* bias;     // (K, E), or null
    Volume u, delta, B, C;
    Volume y;              // result of the forward; its gradient in the backward
    float* saved;          // (B, K, chunks, ceil(E / COLUMNS), N, COLUMNS), or null in a forward that keeps nothing
    float* last_state;     // (B, K, E, N) result of the forward; its gradient, or null, in the backward
    Volume grad_u, grad_delta;
    float *grad_A, *grad_bias;  // (B, K, E, N) and (B, K, E)
    float *grad_B, *grad_C;     // (groups, B, K, L, N)

    int64_t blocks() const { return (channels + LANES - 1) / LANES; }
    int64_t chunks() const { return (length + TOKENS - 1) / TOKENS; }
    int64_t token(int64_t k, int64_t t) const { return order ? order[k * length + t] : t; }
};

// The channels of one direction of one batch element that fill a vector; the last block may fill it in part.
struct Block {
    int64_t b, k, channel;
    int valid;

    Block(const Problem& p, int64_t b, int64_t k, int64_t index) : b(b), k(k), channel(index * LANES) {
        valid = p.channels - channel < LANES ? int(p.channels - channel) : LANES;
    }

    Vec load(const float* row) const {
        Vec value = {};
        if (valid == LANES)
            std::memcpy(&value, row + channel, sizeof(Vec));
        else
            std::memcpy(&value, row + channel, valid * sizeof(float));
        return value;
    }

    void store(Vec value, float* row) const {
        if (valid == LANES)
            std::memcpy(row + channel, &value, sizeof(Vec));
        else
            std::memcpy(row + channel, &value, valid * sizeof(float));
    }

    // Its states before a chunk, COLUMNS apart.
    float* kept(const Problem& p, int64_t chunk) const {
        const int64_t columns = (p.channels + COLUMNS - 1) / COLUMNS, sequence = b * p.directions + k;
        const int64_t column = (sequence * p.chunks() + chunk) * columns + channel / COLUMNS;
        return p.saved + column * p.states * COLUMNS + channel % COLUMNS;
    }

    // Between (.., E, N) and one vector for each n; padding becomes zero.
    void load_columns(const float* matrix, int64_t states, float scale, Vec* columns) const {
        for (int64_t n = 0; n < states; ++n) {
            columns[n] = Vec{};
            for (int i = 0; i < valid; ++i) columns[n][i] = matrix[(channel + i) * states + n] * scale;
        }
    }

    void store_columns(const Vec* columns, int64_t states, float* matrix) const {
        for (int64_t n = 0; n < states; ++n)
            for (int i = 0; i < valid; ++i) matrix[(channel + i) * states + n] = columns[n][i];
    }
};

constexpr float LARGEST_EXPONENT = 1e18f;  // far beyond decays of 0, and no intermediate result overflows

// 2^(x y) to a few units in the last place, for |x y| <= LARGEST_EXPONENT; 0 for x y <= -150, infinite for x y >= 128.
// With f the distance of x y from the nearest number of a grid, it is 2^(x y - f) p(f). The coefficients of p minimize
// the relative error over all f, with p(0) = 1.
inline Vec exp2_of_product(Vec x, Vec y) {
#if defined(__AVX512DQ__)
    // On a grid of sixteenths, 2^(x y - f) is a whole power of two times one of sixteen roots.
    alignas(Vec) static const float ROOTS[16] = {
        1.0f, 1.0442737824f, 1.0905077327f, 1.1387886348f, 1.1892071150f, 1.2418578121f, 1.2968395547f, 1.3542555469f,
        1.4142135624f, 1.4768261459f, 1.5422108254f, 1.6104903319f, 1.6817928305f, 1.7562521604f, 1.8340080864f,
        1.9152065614f};
    const float shift = 786432.0f;  // 1.5 * 2^19: adding it rounds to sixteenths, counted in the low bits
    Vec shifted = x * y + shift;
    Vec nearest = shifted - shift;
    Vec f = x * y - nearest;
    Vec root = _mm512_permutexvar_ps((__m512i)shifted, _mm512_load_ps(ROOTS));
    Vec p = f * 0.055505410f + 0.24023277f;
    p = p * f + 0.6931472f;
    p = p * f + 1.0f;
    return p * _mm512_scalef_ps(root, nearest);
#else
    const Vec low = Vec{} - 127.0f, high = Vec{} + 128.0f;
    Vec exponent = x * y;
    exponent = exponent < low ? low : exponent;
    exponent = exponent > high ? high : exponent;  // from here on infinite
    const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds, and leaves the integer in the low bits
    Vec shifted = exponent + shift;
    Vec f = exponent - (shifted - shift);
    Vec p = f * 0.00015353362f + 0.0013398874f;
    p = p * f + 0.009618437f;
    p = p * f + 0.055503324f;
    p = p * f + 0.24022648f;
    p = p * f + 0.6931472f;
    p = p * f + 1.0f;
    return (Vec)((Bits)p + ((Bits)shifted << 23));
#endif
}

constexpr float MODERATE = 125.0f;

// The same for |x y| <= MODERATE, in two thirds of the time, for AVX2. Scalef makes it needless for AVX-512.
#if defined(__AVX2__) && !defined(__AVX512DQ__)
constexpr bool HAS_MODERATE = true;
inline Vec exp2_of_moderate_product(Vec x, Vec y) {
    // On a grid of eighths; what the count of eighths adds to the bits of the exponent is taken off those of the root.
    alignas(Vec) static const int32_t ROOTS[8] = {
        0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7, 0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7};
    const float shift = 1572864.0f;  // 1.5 * 2^20: adding it rounds to eighths, counted in the low bits
    Vec shifted = x * y + shift;
    Vec f = x * y - (shifted - shift);
    Bits root = (Bits)_mm256_permutevar8x32_epi32(*(const __m256i*)ROOTS, (__m256i)shifted);
    Vec p = f * 0.055496223f + 0.24025764f;
    p = p * f + 0.6931472f;
    p = p * f + 1.0f;
    return p * (Vec)(root + ((Bits)shifted << 20));
}
#else
constexpr bool HAS_MODERATE = false;
inline Vec exp2_of_moderate_product(Vec x, Vec y) { return exp2_of_product(x, y); }
#endif

// log(1 + exp(x)) = max(x, 0) + log(1 + e) with e = exp(-|x|), and its derivative unless slope is null. log(1 + e) =
// 2 artanh(s) with s = e / (2 + e) <= 1/3, whose series is fitted to a relative error of 4e-9.
inline Vec softplus(Vec x, Vec* slope) {
    const Vec zero = {}, one = zero + 1.0f, high = zero + MODERATE / LOG2_E;
    Vec size = x < zero ? -x : x;
    Vec e = exp2_of_moderate_product(size > high ? high : size, zero - LOG2_E);
    e = size > high ? zero : e;
    Vec s = e / (e + 2.0f);
    Vec z = s * s;
    Vec p = z * 0.14089167f + 0.13980301f;
    p = p * z + 0.20012455f;
    p = p * z + 0.33333158f;
    p = p * z + 1.0f;
    if (slope) *slope = (x < zero ? e : one) / (e + 1.0f);
    return (x > zero ? x : zero) + 2.0f * s * p;
}

// Absolute values of one, or of several, where they are larger than those before.
inline Vec largest_size(const Vec* values, int64_t count, Vec before = Vec{}) {
    for (int64_t i = 0; i < count; ++i) {
        Vec size = values[i] < Vec{} ? -values[i] : values[i];
        before = size > before ? size : before;
    }
    return before;
}

// Where the rows of up to TOKENS tokens of a sequence are.
struct Rows {
    const float *delta[TOKENS], *u[TOKENS], *b[TOKENS], *c[TOKENS];
    float *y[TOKENS], *grad_u[TOKENS], *grad_delta[TOKENS];
    int count = 0;

    void find(const Problem& p, int64_t batch, int64_t k, int64_t start, int tokens, bool backward) {
        count = int(std::clamp<int64_t>(p.length - start, 0, tokens));
        for (int t = 0; t < count; ++t) {
            const int64_t token = p.token(k, start + t);
            delta[t] = p.delta.row(batch, k, token);
            u[t] = p.u.row(batch, k, token);
            b[t] = p.B.row(batch, k, token);
            c[t] = p.C.row(batch, k, token);
            y[t] = p.y.row(batch, k, token);
            if (!backward) continue;
            grad_u[t] = p.grad_u.row(batch, k, token);
            grad_delta[t] = p.grad_delta.row(batch, k, token);
        }
    }
};

constexpr int LINE = 16;  // floats that come into a cache together

// Have the rows of the next tokens brought into the cache: the processor does not foresee a few channels of many rows.
// Only the share from / all .. to / all of the tokens: of many rows at once it drops some.
inline void prefetch(const Rows& rows, const Block& block, int64_t from, int64_t to, int64_t all, bool backward) {
    asm volatile("");  // or GCC takes this for a function without effect, and drops it
    const int end = int(to * rows.count / all);
    for (int t = int(from * rows.count / all); t < end; ++t) {
        __builtin_prefetch(rows.delta[t] + block.channel);
        __builtin_prefetch(rows.u[t] + block.channel);
        __builtin_prefetch(rows.y[t] + block.channel);
        if (!backward) continue;
        __builtin_prefetch(rows.grad_u[t] + block.channel, 1);
        __builtin_prefetch(rows.grad_delta[t] + block.channel, 1);
    }
}

// The same for those that all blocks read.
inline void prefetch_matrices(const Rows& rows, int64_t states) {
    asm volatile("");
    for (int t = 0; t < rows.count; ++t)
        for (int64_t n = 0; n < states; n += LINE) {
            __builtin_prefetch(rows.b[t] + n);
            __builtin_prefetch(rows.c[t] + n);
        }
}

// What the tokens of some rows read, for one block of channels.
struct Tile {
    Vec dt[TOKENS], slope[TOKENS];  // step size, and its derivative by delta where asked for
    Vec step[TOKENS];               // step size, limited, for the exponents of the decays
    Vec longest;                    // of the sizes of those, where HAS_MODERATE
    Vec u[TOKENS], x[TOKENS];       // input, and step size times input
    Vec y[TOKENS];                  // result, or its gradient

    void read(const Problem& p, const Rows& rows, const Block& block, Vec limit, bool with_slope) {
        longest = Vec{};
        Vec bias = p.bias ? block.load(p.bias + block.k * p.channels) : Vec{};
        for (int t = 0; t < rows.count; ++t) {
            dt[t] = block.load(rows.delta[t]) + bias;
            u[t] = block.load(rows.u[t]);
            if (with_slope) slope[t] = Vec{} + 1.0f;
        }
        if (p.softplus)  // in a loop of its own, short enough for the processor to work at several tokens at once
            for (int t = 0; t < rows.count; ++t) dt[t] = softplus(dt[t], with_slope ? &slope[t] : nullptr);
        for (int t = 0; t < rows.count; ++t) {
            step[t] = dt[t] > limit ? limit : dt[t];
            step[t] = step[t] < -limit ? -limit : step[t];
            if (HAS_MODERATE) longest = largest_size(&step[t], 1, longest);
            x[t] = dt[t] * u[t];
        }
    }

    // Whether exp2_of_moderate_product may compute the decays of so many components.
    bool is_moderate(const Vec* A2, int64_t components) const {
        if (!HAS_MODERATE) return false;
        Vec exponent = longest * largest_size(A2, components);
        bool moderate = true;
        for (int i = 0; i < LANES; ++i) moderate &= exponent[i] <= MODERATE;
        return moderate;
    }
};

// Bound of each channel's step sizes in exponents. There the decays of all components are 0, or infinite, but of those
// whose A is many powers of ten smaller than the largest.
inline Vec step_limit(const Vec* A2, int64_t states) {
    return LARGEST_EXPONENT / largest_size(A2, states);
}

// h_t = 2^(dt A2) h_{t-1} + x_t b_t and y_t += c_t h_t, for components n .. n + WIDTH - 1.
template <int WIDTH, bool IS_MODERATE>
inline void advance(const Rows& rows, Tile& tile, int64_t n, const Vec* A2, Vec* state) {
    Vec a[WIDTH], h[WIDTH];
    for (int j = 0; j < WIDTH; ++j) a[j] = A2[n + j], h[j] = state[n + j];
    for (int t = 0; t < rows.count; ++t) {
        const float *b = rows.b[t] + n, *c = rows.c[t] + n;
        Vec step = tile.step[t], x = tile.x[t], sum = tile.y[t];
        for (int j = 0; j < WIDTH; ++j) {
            Vec decay = IS_MODERATE ? exp2_of_moderate_product(step, a[j]) : exp2_of_product(step, a[j]);
            h[j] = decay * h[j] + x * b[j];
            sum += h[j] * c[j];
        }
        tile.y[t] = sum;
    }
    for (int j = 0; j < WIDTH; ++j) state[n + j] = h[j];
}

// A sequence, for so many blocks of channels from the first on: tile by tile all of them, so that the rows of its
// tokens, far apart along an order, are looked for once.
// add: to the results of other directions, which y already holds.
void scan_blocks(const Problem& p, int64_t b, int64_t k, int64_t first, int64_t count, bool add) {
    const int64_t N = p.states, sequence = b * p.directions + k;
    std::unique_ptr<Vec[]> A2(new Vec[count * N]), state(new Vec[count * N]()), limit(new Vec[count]);
    for (int64_t i = 0; i < count; ++i) {
        Block(p, b, k, first + i).load_columns(p.A + k * p.channels * N, N, LOG2_E, &A2[i * N]);
        limit[i] = step_limit(&A2[i * N], N);
    }
    Tile tile;
    Rows rows, next;
    next.find(p, b, k, 0, TILE, false);
    for (int64_t start = 0; start < p.length; start += TILE) {
        rows = next;
        next.find(p, b, k, start + TILE, TILE, false);
        prefetch_matrices(next, N);
        for (int64_t i = 0; i < count; ++i) {
            const Block block(p, b, k, first + i);
            const Vec* a = &A2[i * N];
            Vec* h = &state[i * N];
            if (p.saved && start % TOKENS == 0) {
                float* kept = block.kept(p, start / TOKENS);
                for (int64_t n = 0; n < N; ++n) std::memcpy(kept + n * COLUMNS, &h[n], sizeof(Vec));
            }
            tile.read(p, rows, block, limit[i], false);
            for (int t = 0; t < rows.count; ++t) tile.y[t] = Vec{};
            int64_t n = 0;
            for (; n + FEW <= N; n += FEW) {
                prefetch(next, block, n, n + FEW, N, false);
                tile.is_moderate(a + n, FEW) ? advance<FEW, true>(rows, tile, n, a, h)
                                             : advance<FEW, false>(rows, tile, n, a, h);
            }
            prefetch(next, block, n, N, N, false);
            for (; n < N; ++n) advance<1, false>(rows, tile, n, a, h);
            for (int t = 0; t < rows.count; ++t)
                block.store(add ? tile.y[t] + block.load(rows.y[t]) : tile.y[t], rows.y[t]);
        }
    }
    for (int64_t i = 0; i < count; ++i)
        Block(p, b, k, first + i).store_columns(&state[i * N], N, p.last_state + sequence * p.channels * N);
}

// A task of the forward is a group of channel blocks; where directions are summed, in all of them, one after the other.
void forward_task(const Problem& p, int64_t task) {
    const int64_t group = task % p.groups, sequence = task / p.groups;
    const int64_t first = group * p.blocks() / p.groups, count = (group + 1) * p.blocks() / p.groups - first;
    if (p.merge)
        for (int64_t k = 0; k < p.directions; ++k) scan_blocks(p, sequence, k, first, count, k > 0);
    else
        scan_blocks(p, sequence / p.directions, sequence % p.directions, first, count, false);
}

// What a task of the backward adds up.
struct Sums {
    std::unique_ptr<Vec[]> B, C;  // gradients of a chunk over channel blocks; lanes still apart, see `place`
    Vec x[TOKENS], dt[TOKENS];    // gradients of a chunk and a channel block; of dt A2 in place of dt A

    explicit Sums(int64_t states) : B(new Vec[place(states + 3, 0)]()), C(new Vec[place(states + 3, 0)]()) {}

    // Where component n of token t is: FEW components of a token, then those of the next token.
    static int64_t place(int64_t n, int64_t t) { return (n / FEW * TOKENS + t) * FEW + n % FEW; }
};

// Differentiate a chunk for components n .. n + WIDTH - 1. carry: gradient that reaches the states after the chunk from
// later tokens; becomes the one of the states before it. grad_a: of A, added to.
template <int WIDTH, bool IS_MODERATE>
inline void retreat(
    const Rows& rows, const Tile& tile, int64_t n, const float* kept, const Vec* A2, Vec* carry, Vec* grad_a, Sums& sums
) {
    Vec a[WIDTH], h[WIDTH], g[WIDTH], of_a[WIDTH];
    Vec history[TOKENS + 1][WIDTH], decay[TOKENS][WIDTH];
    for (int j = 0; j < WIDTH; ++j) {
        a[j] = A2[n + j];
        std::memcpy(&history[0][j], kept + (n + j) * COLUMNS, sizeof(Vec));
        h[j] = history[0][j];
    }
    for (int t = 0; t < rows.count; ++t) {
        const float* b = rows.b[t] + n;
        Vec step = tile.step[t], x = tile.x[t];
        for (int j = 0; j < WIDTH; ++j) {
            decay[t][j] = IS_MODERATE ? exp2_of_moderate_product(step, a[j]) : exp2_of_product(step, a[j]);
            history[t + 1][j] = h[j] = decay[t][j] * h[j] + x * b[j];
        }
    }
    for (int j = 0; j < WIDTH; ++j) g[j] = carry[n + j], of_a[j] = Vec{};
    for (int t = rows.count - 1; t >= 0; --t) {
        const float *b = rows.b[t] + n, *c = rows.c[t] + n;
        Vec grad = tile.y[t], dt = tile.dt[t], x = tile.x[t], of_x = sums.x[t], of_dt = sums.dt[t];
        Vec *of_b = &sums.B[Sums::place(n, t)], *of_c = &sums.C[Sums::place(n, t)];
        for (int j = 0; j < WIDTH; ++j) {
            g[j] += grad * c[j];
            of_c[j] += grad * history[t + 1][j];
            of_b[j] += g[j] * x;
            of_x += g[j] * b[j];
            g[j] *= decay[t][j];
            Vec of_exponent = g[j] * history[t][j];
            of_a[j] += of_exponent * dt;
            of_dt += of_exponent * a[j];
        }
        sums.x[t] = of_x, sums.dt[t] = of_dt;
    }
    for (int j = 0; j < WIDTH; ++j) carry[n + j] = g[j], grad_a[n + j] += of_a[j];
}

typedef float Four __attribute__((vector_size(16), may_alias));

// The lanes of each of four values, added up.
inline Four add_lanes(const Vec* values) {
    Four sums[4] = {};
    for (int i = 0; i < 4; ++i)
        for (int quarter = 0; quarter < LANES / 4; ++quarter) sums[i] += ((const Four*)(values + i))[quarter];
#if defined(__AVX2__)
    return _mm_hadd_ps(_mm_hadd_ps(sums[0], sums[1]), _mm_hadd_ps(sums[2], sums[3]));
#else
    Four result;
    for (int i = 0; i < 4; ++i) result[i] = (sums[i][0] + sums[i][1]) + (sums[i][2] + sums[i][3]);
    return result;
#endif
}

// A task of the backward is a group of channel blocks in one direction.
void backward_task(const Problem& p, int64_t task) {
    const int64_t group = task % p.groups, sequence = task / p.groups;
    const int64_t b = sequence / p.directions, k = sequence % p.directions, N = p.states;
    const int64_t first = group * p.blocks() / p.groups, count = (group + 1) * p.blocks() / p.groups - first;
    const int64_t matrix = p.channels * N;

    std::unique_ptr<Vec[]> A2(new Vec[count * N]), carry(new Vec[count * N]()), grad_a(new Vec[count * N]());
    std::unique_ptr<Vec[]> limit(new Vec[count]), grad_bias(new Vec[count]());
    for (int64_t i = 0; i < count; ++i) {
        Block block(p, b, k, first + i);
        block.load_columns(p.A + k * matrix, N, LOG2_E, &A2[i * N]);
        limit[i] = step_limit(&A2[i * N], N);
        if (p.last_state) block.load_columns(p.last_state + sequence * matrix, N, 1.0f, &carry[i * N]);
    }
    Sums sums(N);
    Tile tile;
    Rows rows, next;
    next.find(p, b, k, (p.chunks() - 1) * TOKENS, TOKENS, true);
    const auto row = [&](int64_t t) {  // of grad_B and grad_C
        return ((group * p.batches * p.directions + sequence) * p.length + p.token(k, t)) * N;
    };
    for (int64_t chunk = p.chunks() - 1; chunk >= 0; --chunk) {
        rows = next;
        next.count = 0;
        if (chunk) next.find(p, b, k, (chunk - 1) * TOKENS, TOKENS, true);
        prefetch_matrices(next, N);
        for (int t = 0; t < rows.count; ++t)
            for (int64_t n = 0; n < N; n += LINE)
                for (float* grad : {p.grad_B, p.grad_C}) __builtin_prefetch(grad + row(chunk * TOKENS + t) + n, 1);
        for (int64_t i = 0; i < Sums::place(N + 3, 0); ++i) sums.B[i] = sums.C[i] = Vec{};
        for (int64_t i = 0; i < count; ++i) {
            Block block(p, b, k, first + i);
            tile.read(p, rows, block, limit[i], true);
            const float *kept = block.kept(p, chunk), *next_kept = block.kept(p, std::max<int64_t>(chunk - 1, 0));
            for (int t = 0; t < rows.count; ++t) {
                tile.y[t] = block.load(rows.y[t]);
                sums.x[t] = sums.dt[t] = Vec{};
            }
            const Vec* a = &A2[i * N];
            Vec *g = &carry[i * N], *of_a = &grad_a[i * N];
            int64_t n = 0;
            for (; n + FEW <= N; n += FEW) {
                prefetch(next, block, n, n + FEW, N, true);
                for (int j = 0; j < FEW; ++j) __builtin_prefetch(next_kept + (n + j) * COLUMNS);
                tile.is_moderate(a + n, FEW) ? retreat<FEW, true>(rows, tile, n, kept, a, g, of_a, sums)
                                             : retreat<FEW, false>(rows, tile, n, kept, a, g, of_a, sums);
            }
            prefetch(next, block, n, N, N, true);
            for (; n < N; ++n) retreat<1, false>(rows, tile, n, kept, a, g, of_a, sums);
            for (int t = 0; t < rows.count; ++t) {
                block.store(sums.x[t] * tile.dt[t], rows.grad_u[t]);
                Vec of_delta = (sums.dt[t] * LN_2 + sums.x[t] * tile.u[t]) * tile.slope[t];
                block.store(of_delta, rows.grad_delta[t]);
                grad_bias[i] += of_delta;
            }
        }
        for (int t = 0; t < rows.count; ++t) {
            const int64_t start = row(chunk * TOKENS + t);
            for (int64_t n = 0; n < N; n += FEW) {
                const size_t size = std::min<int64_t>(N - n, FEW) * sizeof(float);
                Four of_b = add_lanes(&sums.B[Sums::place(n, t)]), of_c = add_lanes(&sums.C[Sums::place(n, t)]);
                std::memcpy(p.grad_B + start + n, &of_b, size);
                std::memcpy(p.grad_C + start + n, &of_c, size);
            }
        }
    }
    for (int64_t i = 0; i < count; ++i) {
        Block block(p, b, k, first + i);
        block.store_columns(&grad_a[i * N], N, p.grad_A + sequence * matrix);
        block.store(grad_bias[i], p.grad_bias + sequence * p.channels);
    }
}

bool takes_every_token_once(const Problem& p) {
    std::vector<char> taken(p.length);
    for (int64_t k = 0; k < p.directions; ++k) {
        std::fill(taken.begin(), taken.end(), 0);
        for (int64_t t = 0; t < p.length; ++t) {
            const int64_t token = p.token(k, t);
            if (token < 0 || token >= p.length || taken[token]) return false;
            taken[token] = 1;
        }
    }
    return true;
}

struct Job {
    const Problem& problem;
    void (*task)(const Problem&, int64_t);
    int64_t count;
    std::atomic<int64_t> next;
    std::atomic<bool> failed;
};

void work(void* data) {
    Job& job = *static_cast<Job*>(data);
    try {
        for (int64_t i; !job.failed && (i = job.next.fetch_add(1)) < job.count;) job.task(job.problem, i);
    } catch (const std::bad_alloc&) {  // nothing may leave a thread, or a library called from C
        job.failed = true;
    }
}

}  // namespace

extern "C" {

// GOMP_parallel of an OpenMP runtime: calls a function with the same data on so many threads at once.
typedef void (*Team)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

int monai_mamba_lanes() { return LANES; }

// Run a forward, or a backward, on so many threads: those of the team, or new ones where there is none. Returns 1 and
// does nothing if the order is no permutation of the tokens in every direction, 2 without memory, else 0.
int monai_mamba_scan(const Problem* problem, int backward, int threads, Team team) {
    Problem p = *problem;
    try {
        if (p.order && !takes_every_token_once(p)) return 1;
    } catch (const std::bad_alloc&) {
        return 2;
    }
    const int64_t sequences = p.batches * (p.merge && !backward ? 1 : p.directions);
    if (!backward) {  // blocks do not depend on each other, so the results are those of any groups
        const int64_t most = std::max<int64_t>(1, GROUP_BYTES / (2 * p.states * sizeof(Vec)));
        const int64_t size = std::clamp<int64_t>(p.blocks() * sequences / std::max(threads, 1), 1, most);
        p.groups = (p.blocks() + size - 1) / size;
    }
    const int64_t count = sequences * p.groups;
    Job job{p, backward ? backward_task : forward_task, count, {0}, {false}};
    if (threads > 1 && count > 1 && team) {
        team(work, &job, threads, 0);
    } else {
        std::vector<std::thread> others;
        try {
            for (int64_t i = 1; i < threads && i < count; ++i) others.emplace_back(work, &job);
        } catch (const std::exception&) {  // the system allows no more: those there are do the work
        }
        work(&job);
        for (std::thread& other : others) other.join();
    }
    return job.failed ? 2 : 0;
}
}
