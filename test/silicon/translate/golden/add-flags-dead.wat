;; 64 bits: add rax, rbx; add rax, rcx; xor edx, edx; hlt
;; 132 instructions
;;    49 local.get
;;    26 local.set
;;     7 i64.load
;;     6 i32.const
;;     6 i64.store
;;     4 local.tee
;;     3 f64.add
;;     3 f64.load
;;     2 block
;;     2 f64.const
;;     2 f64.store
;;     2 i32.wrap_i64
;;     2 i64.add
;;     2 i64.extend_i32_u
;;     2 if
;;     1 br
;;     1 f64.convert_i32_u
;;     1 f64.ge
;;     1 f64.min
;;     1 global.get
;;     1 global.set
;;     1 i32.add
;;     1 i32.eqz
;;     1 i32.load
;;     1 i32.store
;;     1 i32.sub
;;     1 i32.xor
;;     1 i64.const
;;     1 return
  (func (;1;) (type 0) (param i32) (result i32)
    (local i64 i64 i64 i64 i32 i32 i32 i32 f64 f64 i64 i64 i64 i64 i64 i64 i32 i32 i32 i64)
    global.get 0
    i32.const 1
    i32.sub
    local.tee 6
    global.set 0
    local.get 6
    i32.eqz
    if  ;; label = @1
      i32.const 5
      return
    end
    local.get 0
    i64.load align=1
    local.set 15
    local.get 0
    i64.load offset=8 align=1
    local.set 16
    local.get 0
    i64.load offset=16 align=1
    local.set 20
    local.get 0
    i64.load offset=24 align=1
    local.set 14
    local.get 0
    i64.load offset=152 align=1
    local.set 2
    local.get 0
    i64.load offset=160 align=1
    local.set 3
    local.get 0
    i64.load offset=168 align=1
    local.set 4
    local.get 0
    i32.load offset=144 align=1
    local.set 6
    local.get 0
    f64.load offset=1024 align=1
    local.set 9
    local.get 9
    f64.const 0x1.86ap+17 (;=200000;)
    f64.add
    local.get 0
    f64.load offset=1032 align=1
    f64.min
    local.set 10
    block  ;; label = @1
      block  ;; label = @2
        local.get 14
        local.set 12
        local.get 15
        local.tee 11
        local.get 12
        i64.add
        local.set 13
        local.get 13
        local.set 15
        local.get 16
        local.set 12
        local.get 15
        local.tee 11
        local.get 12
        i64.add
        local.set 13
        local.get 13
        local.set 15
        local.get 20
        i32.wrap_i64
        local.set 18
        local.get 20
        i32.wrap_i64
        local.tee 17
        local.get 18
        i32.xor
        local.set 19
        local.get 19
        i64.extend_i32_u
        local.set 20
        local.get 19
        i64.extend_i32_u
        local.set 2
        local.get 9
        f64.const 0x1.8p-1 (;=0.75;)
        f64.add
        local.set 9
        local.get 7
        i32.const 3
        i32.add
        local.set 7
        i32.const 22
        local.set 6
        i64.const 4104
        local.set 1
        i32.const 2
        local.set 5
        br 1 (;@1;)
      end
      local.get 9
      local.get 10
      f64.ge
      if  ;; label = @2
        i32.const 1
        local.set 5
      end
    end
    local.get 0
    local.get 15
    i64.store align=1
    local.get 0
    local.get 20
    i64.store offset=16 align=1
    local.get 0
    local.get 2
    i64.store offset=152 align=1
    local.get 0
    local.get 3
    i64.store offset=160 align=1
    local.get 0
    local.get 4
    i64.store offset=168 align=1
    local.get 0
    local.get 6
    i32.store offset=144 align=1
    local.get 0
    local.get 9
    f64.store offset=1024 align=1
    local.get 0
    local.get 1
    i64.store offset=128 align=1
    local.get 0
    local.get 0
    f64.load offset=1040 align=1
    local.get 7
    f64.convert_i32_u
    f64.add
    f64.store offset=1040 align=1
    local.get 5)
