// SPDX-License-Identifier: Apache-2.0
#include "fiber.hpp"

#include <cstdint>

namespace penstock::model {

#if defined(__x86_64__)

// swapcontext() makes two system calls; this takes 2 ns, and a search switches 10^7 times a second.
extern "C" void penstock_model_transfer(void** save, void* load);
asm(R"(
.text
.p2align 4
.type penstock_model_transfer, @function
penstock_model_transfer:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size penstock_model_transfer, .-penstock_model_transfer
)");

void Fiber::start(std::byte* stack, std::size_t bytes, Entry entry) {
  constexpr std::size_t kSavedRegisters = 6;
  auto* top = reinterpret_cast<std::uint64_t*>(stack + bytes);
  *--top = 0;  // What entry would return to; also aligns its frame as a call would.
  *--top = reinterpret_cast<std::uint64_t>(entry);
  for (std::size_t i = 0; i < kSavedRegisters; ++i) *--top = 0;
  stack_pointer_ = top;
}

void Fiber::transfer(Fiber& self, Fiber& next) {
  penstock_model_transfer(&self.stack_pointer_, next.stack_pointer_);
}

#else

void Fiber::start(std::byte* stack, std::size_t bytes, Entry entry) {
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack;
  context_.uc_stack.ss_size = bytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
}

void Fiber::transfer(Fiber& self, Fiber& next) { swapcontext(&self.context_, &next.context_); }

#endif

}  // namespace penstock::model
