#include "ops/cpu/bf16_gemm.h"

#include <algorithm>
#include <atomic>

#if BRAID_ONEDNN
#include <dnnl.hpp>
#include <map>
#include <tuple>

#include "ops/cpu/one_thread.h"
#include "ops/cpu/parallel.h"
#endif

namespace braid::ops::cpu {

#if BRAID_ONEDNN

namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

constexpr int64_t kTileRows = 256, kPanelColumns = 512;
// Rows of a tile are filled up to a multiple of this with zeros: groups of any size then need few kernels,
// which oneDNN compiles at the first call.
constexpr int64_t kRowStep = 32;

int64_t filled_up(int64_t rows) {
    return (rows + kRowStep - 1) / kRowStep * kRowStep;
}

dnnl::memory::desc describe(int64_t rows, int64_t columns, Type type, int64_t row_stride,
                            int64_t column_stride) {
    return {{rows, columns}, type, dnnl::memory::dims{row_stride, column_stride}};
}

dnnl::matmul::primitive_desc make_matmul(const dnnl::engine& engine, const dnnl::memory::desc& a,
                                         const dnnl::memory::desc& b, const dnnl::memory::desc& c) {
#if DNNL_VERSION_MAJOR >= 3
    return {engine, a, b, c};
#else
    return {dnnl::matmul::desc(a, b, c), engine};
#endif
}

/// What one thread needs to call oneDNN: an engine and a stream, the products it has made before, and memory
/// for tiles that are filled up.
struct Worker {
    // m, n, k; strides of a and b; kind: 0 forward into bf16, 1 into f32, 2 outer products
    using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int>;
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream{engine};
    struct Product {
        dnnl::matmul matmul;
        dnnl::memory::desc a, b, c;
    };
    std::map<Key, Product> products;
    std::vector<bf16> a, b;
    std::vector<float> c;

    static Worker& mine() {
        thread_local Worker worker;
        return worker;
    }

    /// products[key], made by make() if it is new.
    template <typename Make>
    const Product& product(const Key& key, const Make& make) {
        constexpr size_t kMost = 512; // shapes of a model are few; generation may bring many
        if (products.size() >= kMost) products.clear();
        const auto found = products.find(key);
        return found != products.end() ? found->second : products.emplace(key, make()).first->second;
    }

    void run(const Product& product, const void* a, const void* b, void* c) {
        const auto memory = [&](const dnnl::memory::desc& desc, const void* data) {
            return dnnl::memory(desc, engine, const_cast<void*>(data));
        };
        product.matmul.execute(stream, {{DNNL_ARG_SRC, memory(product.a, a)},
                                        {DNNL_ARG_WEIGHTS, memory(product.b, b)},
                                        {DNNL_ARG_DST, memory(product.c, c)}});
        stream.wait();
    }
};

Worker::Product make_product(const dnnl::engine& engine, const dnnl::memory::desc& a,
                             const dnnl::memory::desc& b, const dnnl::memory::desc& c) {
    return {dnnl::matmul(make_matmul(engine, a, b, c)), a, b, c};
}

/// The layout of a panel [k, width], as the product with a full tile of rows wants it.
dnnl::memory::desc panel_layout(const dnnl::engine& engine, int64_t k, int64_t width) {
    return make_matmul(engine, describe(kTileRows, k, Type::bf16, k, 1), {{k, width}, Type::bf16, Tag::any},
                       describe(kTileRows, width, Type::bf16, width, 1))
        .weights_desc();
}

/// rows x columns of x, `stride` apart, packed and filled up with rows of zeros.
const bf16* fill_up(const bf16* x, int64_t stride, int64_t rows, int64_t columns, std::vector<bf16>& memory) {
    memory.assign(static_cast<size_t>(filled_up(rows) * columns), bf16());
    for (int64_t i = 0; i < rows; ++i) std::copy_n(x + i * stride, columns, memory.data() + i * columns);
    return memory.data();
}

/// Rows and columns of one group's result.
struct Tile {
    size_t group;
    int64_t first_row, rows, first_column, columns;
};

/// run(tile) for all on all threads.
template <typename Run>
void run_tiles(const std::vector<Tile>& tiles, int64_t work, const Run& run) {
    for_each_task(std::ssize(tiles), work, [&](int64_t i) {
        const OneThread one;
        run(Worker::mine(), tiles[static_cast<size_t>(i)]);
    });
}

void cut(size_t group, int64_t first_row, int64_t rows, int64_t columns, std::vector<Tile>& tiles) {
    for (int64_t i = 0; i < rows; i += kTileRows)
        for (int64_t j = 0; j < columns; j += kPanelColumns)
            tiles.push_back({group, first_row + i, std::min(kTileRows, rows - i), j,
                             std::min(kPanelColumns, columns - j)});
}

} // namespace

/// Products with packed panels.
struct PackedProduct {
    const Tensor &x, &y;
    std::span<const PackedMatrix> b;

    template <typename T>
    void run(Worker& worker, const Tile& tile) const {
        constexpr bool kIsWide = std::is_same_v<T, float>;
        const PackedMatrix& matrix = b[tile.group];
        const int64_t k = matrix.rows(), m = filled_up(tile.rows), width = tile.columns;
        const bf16* in = x.data<bf16>() + tile.first_row * x.row_stride();
        T* out = y.data<T>() + tile.first_row * y.row_stride() + tile.first_column;
        // Rows of x or y that lie apart make oneDNN 2.6 multiply in plain loops, a thousand times slower. So
        // they go through memory of the thread's own, as do tiles that are filled up; a result then has f32
        // sums that are rounded here.
        const bool whole = m == tile.rows && x.row_stride() == k;
        const bool direct = m == tile.rows && y.row_stride() == width;
        const Type type = kIsWide || !direct ? Type::f32 : Type::bf16;
        const Worker::Product& product = worker.product({m, width, k, 0, 0, type == Type::f32}, [&] {
            return make_product(worker.engine, describe(m, k, Type::bf16, k, 1),
                                panel_layout(worker.engine, k, width), describe(m, width, type, width, 1));
        });
        const Tensor& panel = matrix.panels_[static_cast<size_t>(tile.first_column / kPanelColumns)];
        if (!direct) worker.c.resize(static_cast<size_t>(m * width));
        void* to = direct ? static_cast<void*>(out) : worker.c.data();
        const bf16* from = whole ? in : fill_up(in, x.row_stride(), tile.rows, k, worker.a);
        worker.run(product, from, panel.raw_data(), to);
        for (int64_t i = 0; !direct && i < tile.rows; ++i)
            for (int64_t j = 0; j < width; ++j)
                out[i * y.row_stride() + j] = static_cast<T>(worker.c[static_cast<size_t>(i * width + j)]);
    }
};

PackedMatrix::PackedMatrix(Allocator& allocator, bool transposed, int64_t k, int64_t n, const bf16* b,
                           int64_t ld)
    : k_(k), n_(n) {
    const OneThread one;
    Worker& worker = Worker::mine();
    for (int64_t j = 0; j < n; j += kPanelColumns) {
        const int64_t width = std::min(kPanelColumns, n - j);
        const dnnl::memory::desc layout = panel_layout(worker.engine, k, width);
        panels_.push_back(Tensor::empty(allocator, {static_cast<int64_t>(layout.get_size())}, DType::u8));
        const bf16* first = b + (transposed ? j * ld : j);
        dnnl::memory from(describe(k, width, Type::bf16, transposed ? 1 : ld, transposed ? ld : 1),
                          worker.engine, const_cast<bf16*>(first));
        dnnl::memory to(layout, worker.engine, panels_.back().raw_data());
        dnnl::reorder(from, to).execute(worker.stream, from, to);
        worker.stream.wait();
    }
}

void multiply_packed(const Tensor& x, std::span<const PackedMatrix> b, std::span<const int64_t> offsets,
                     const Tensor& y) {
    std::vector<Tile> tiles;
    for (size_t g = 0; g < b.size(); ++g) cut(g, offsets[g], offsets[g + 1] - offsets[g], y.dim(1), tiles);
    dispatch_storage(y.dtype(), [&]<typename T>() {
        if constexpr (!std::is_same_v<T, double>)
            run_tiles(tiles, x.numel() * y.dim(1), [&](Worker& worker, const Tile& tile) {
                PackedProduct{x, y, b}.run<T>(worker, tile);
            });
    });
}

void add_outer_products(const Tensor& dy, const Tensor& x, std::span<const int64_t> offsets,
                        const Tensor& dw) {
    const int64_t out = dy.dim(1), in = x.dim(1);
    std::vector<Tile> tiles;
    for (size_t g = 0; g + 1 < offsets.size(); ++g)
        if (offsets[g + 1] > offsets[g]) cut(g, 0, out, in, tiles);
    run_tiles(tiles, dy.numel() * in, [&](Worker& worker, const Tile& tile) {
        const int64_t first = offsets[tile.group], depth = offsets[tile.group + 1] - first;
        const int64_t k = filled_up(depth), m = tile.rows, n = tile.columns;
        const bf16* a = dy.data<bf16>() + first * dy.row_stride() + tile.first_row;
        const bf16* b = x.data<bf16>() + first * x.row_stride() + tile.first_column;
        const bool whole = k == depth;
        if (!whole) {
            a = fill_up(a, dy.row_stride(), depth, m, worker.a);
            b = fill_up(b, x.row_stride(), depth, n, worker.b);
        }
        const int64_t lda = whole ? dy.row_stride() : m, ldb = whole ? x.row_stride() : n;
        const Worker::Product& product = worker.product({m, n, k, lda, ldb, 2}, [&] {
            return make_product(worker.engine, describe(m, k, Type::bf16, 1, lda),
                                describe(k, n, Type::bf16, ldb, 1), describe(m, n, Type::f32, n, 1));
        });
        worker.c.resize(static_cast<size_t>(m * n));
        worker.run(product, a, b, worker.c.data());
        float* c = dw.data<float>() + (static_cast<int64_t>(tile.group) * out + tile.first_row) * in +
                   tile.first_column;
        for (int64_t i = 0; i < m; ++i)
            for (int64_t j = 0; j < n; ++j) c[i * in + j] += worker.c[static_cast<size_t>(i * n + j)];
    });
}

namespace {

/// The codes of instruction sets are bit masks: one that includes another has its bits.
bool has_instructions(dnnl::cpu_isa wanted) {
    const auto bits = static_cast<unsigned>(wanted);
    return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & bits) == bits;
}

} // namespace

bool can_use_onednn() {
    return has_instructions(dnnl::cpu_isa::avx512_core);
}

std::string onednn_description() {
    const dnnl_version_t& version = *dnnl::version();
    return fmt::format("{}.{}.{} isa {:#x}", version.major, version.minor, version.patch,
                       static_cast<unsigned>(dnnl::get_effective_cpu_isa()));
}

namespace {

Bf16Gemm fastest_bf16_gemm() {
    return has_instructions(dnnl::cpu_isa::avx512_core_bf16) ? Bf16Gemm::onednn : Bf16Gemm::widened;
}

} // namespace

#else

PackedMatrix::PackedMatrix(Allocator&, bool, int64_t, int64_t, const bf16*, int64_t) : k_(0), n_(0) {
    throw InternalError("this build has no oneDNN");
}
void multiply_packed(const Tensor&, std::span<const PackedMatrix>, std::span<const int64_t>, const Tensor&) {
    throw InternalError("this build has no oneDNN");
}
void add_outer_products(const Tensor&, const Tensor&, std::span<const int64_t>, const Tensor&) {
    throw InternalError("this build has no oneDNN");
}
bool can_use_onednn() {
    return false;
}
std::string onednn_description() {
    return "none";
}

namespace {

Bf16Gemm fastest_bf16_gemm() {
    return Bf16Gemm::widened;
}

} // namespace

#endif

namespace {

std::atomic<Bf16Gemm>& chosen_bf16_gemm() {
    static std::atomic<Bf16Gemm> chosen = fastest_bf16_gemm();
    return chosen;
}

} // namespace

Bf16Gemm bf16_gemm() {
    return chosen_bf16_gemm();
}

void set_bf16_gemm(Bf16Gemm choice) {
    check(choice == Bf16Gemm::widened || can_use_onednn(), "oneDNN cannot multiply bf16 here");
    chosen_bf16_gemm() = choice;
}

} // namespace braid::ops::cpu
