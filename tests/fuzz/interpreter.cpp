// SPDX-License-Identifier: Apache-2.0
#include "interpreter.hpp"

#include <malloc.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "../../pyext/src/interpreter.hpp"
#include "penstock/memory.hpp"

namespace penstock::fuzz {

namespace {

constinit std::size_t blocks = 0, bytes = 0, peak = 0;
constinit unsigned until_failure = 0;  // 0: none fails.

bool must_fail() noexcept {
  if (until_failure == 0) return false;
  if (until_failure > 1) --until_failure;
  return until_failure == 1;
}

void count(void* block, std::size_t before) noexcept {
  if (block == nullptr) return;
  bytes = bytes - before + malloc_usable_size(block);
  peak = std::max(peak, bytes);
}

PyMemAllocatorEx below_of(void* domain) noexcept {
  return *static_cast<const PyMemAllocatorEx*>(domain);
}

void* allocate(void* domain, std::size_t size) {
  if (must_fail()) return nullptr;
  const PyMemAllocatorEx below = below_of(domain);
  void* const block = below.malloc(below.ctx, size);
  if (block != nullptr) ++blocks;
  count(block, 0);
  return block;
}

void* allocate_zeroed(void* domain, std::size_t number, std::size_t size) {
  if (must_fail()) return nullptr;
  const PyMemAllocatorEx below = below_of(domain);
  void* const block = below.calloc(below.ctx, number, size);
  if (block != nullptr) ++blocks;
  count(block, 0);
  return block;
}

void* reallocate(void* domain, void* old, std::size_t size) {
  if (old == nullptr) return allocate(domain, size);
  if (must_fail()) return nullptr;
  std::size_t const before = malloc_usable_size(old);
  const PyMemAllocatorEx below = below_of(domain);
  void* const block = below.realloc(below.ctx, old, size);
  count(block, before);
  return block;
}

void release(void* domain, void* block) {
  if (block == nullptr) return;
  --blocks;
  bytes -= malloc_usable_size(block);
  const PyMemAllocatorEx below = below_of(domain);
  below.free(below.ctx, block);
}

void count_all() {
  static std::array<PyMemAllocatorEx, 2> below;
  constexpr std::array kDomains = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
  for (std::size_t i = 0; i < kDomains.size(); ++i) {
    PyMem_GetAllocator(kDomains[i], &below[i]);
    PyMemAllocatorEx counted{&below[i], allocate, allocate_zeroed, reallocate, release};
    PyMem_SetAllocator(kDomains[i], &counted);
  }
  // What was there before is freed as one of them, too.
  blocks = bytes = std::size_t{1} << 40;
}

std::vector<PyObject*>& lasting() {
  static auto& objects = *new std::vector<PyObject*>;
  return objects;
}

/// Python keeps memory that it does not always use again: of the first 2000 tuples of 20 (3.11),
/// and of the first 80 small dicts, where a copy gets new memory.
void fill_free_lists() {
  constexpr int kEnough = 3000;
  for (int i = 0; i < kEnough; ++i) (void)python::PyRef::steal(PyTuple_New(20));
  const python::PyRef dict = python::PyRef::steal(PyDict_New());
  require(dict && PyDict_SetItemString(dict.get(), "key", Py_None) == 0);
  for (int i = 0; i < kEnough; ++i) (void)python::PyRef::steal(PyDict_Copy(dict.get()));
}

void find_lasting(const python::ModuleState& state) {
  std::vector<PyObject*>& all = lasting();
  all = {Py_None, Py_True, Py_False, PyTuple_New(0)};
  for (long number = -5; number <= 256; ++number) all.push_back(PyLong_FromLong(number));
  for (int character = 0; character < 256; ++character) {
    const char text = static_cast<char>(character);
    all.push_back(PyBytes_FromStringAndSize(&text, 1));
    all.push_back(PyUnicode_FromOrdinal(character));
  }
  all.push_back(PyBytes_FromStringAndSize(nullptr, 0));
  all.push_back(PyUnicode_New(0, 0));
  for (PyTypeObject* const type : state.opaque_types) {
    all.push_back(reinterpret_cast<PyObject*>(type));
  }
  all.push_back(reinterpret_cast<PyObject*>(state.atom_type));
  all.push_back(reinterpret_cast<PyObject*>(state.buffer_type));
}

}  // namespace

python::ModuleState& start_python() {
  // As one does with sanitizers; Python reads it when it starts.
  setenv("PYTHONMALLOC", "malloc", 1);        // NOLINT(concurrency-mt-unsafe)
  setenv("PYTHONDONTWRITEBYTECODE", "1", 1);  // NOLINT(concurrency-mt-unsafe)
  python::ModuleState* state = nullptr;
  const std::string failure = python::start_interpreter({PENSTOCK_PYTHON, PENSTOCK_PACKAGE}, state);
  if (!failure.empty()) {
    std::fprintf(stderr, "Python does not start: %s\n", failure.c_str());
    std::abort();
  }
  PyGC_Collect();
  PyGC_Disable();
  fill_free_lists();
  find_lasting(*state);
  count_all();
  return *state;
}

Held held() {
  Py_ssize_t references = 0;
  for (PyObject* const object : lasting()) references += Py_REFCNT(object);
  return {blocks, bytes, references};
}

std::size_t peak_bytes() { return peak; }
void restart_peak() { peak = bytes; }

Failing::Failing(unsigned countdown) {
  until_failure = countdown == 0 ? 0 : countdown + 1;
  memory::fail_after(countdown);
}

Failing::~Failing() {
  until_failure = 0;
  memory::fail_after(0);
}

void report_leak(const Held& before, const Held& after) {
  std::fprintf(stderr, "%zd blocks, %zd bytes, %zd references more, each time\n",
               static_cast<ssize_t>(after.blocks - before.blocks),
               static_cast<ssize_t>(after.bytes - before.bytes),
               after.references - before.references);
  std::abort();
}

void require_refusal(bool memory_may_run_out) {
  require(PyErr_Occurred() != nullptr);
  const bool is_one = PyErr_ExceptionMatches(PyExc_ValueError) != 0 ||
                      PyErr_ExceptionMatches(PyExc_TypeError) != 0 ||
                      (memory_may_run_out && PyErr_ExceptionMatches(PyExc_MemoryError) != 0);
  if (!is_one) PyErr_Print();
  require(is_one);
  PyErr_Clear();
}

}  // namespace penstock::fuzz
