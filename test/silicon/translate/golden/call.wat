;; 64 bits: call +0; hlt
;; 142 instructions
;;    46 local.get
;;    16 local.set
;;    10 i32.const
;;     6 i64.const
;;     6 i64.store
;;     5 i64.load
;;     5 local.tee
;;     4 f64.load
;;     4 i32.add
;;     4 if
;;     3 f64.add
;;     3 i32.wrap_i64
;;     2 block
;;     2 br
;;     2 f64.const
;;     2 f64.min
;;     2 f64.store
;;     2 i32.load
;;     2 i32.shr_u
;;     2 i64.add
;;     1 call
;;     1 else
;;     1 f64.convert_i32_u
;;     1 f64.ge
;;     1 global.get
;;     1 global.set
;;     1 i32.and
;;     1 i32.eqz
;;     1 i32.store
;;     1 i32.sub
;;     1 i32.xor
;;     1 i64.and
;;     1 i64.eq
;;     1 return
  (func (;1;) (type 0) (param i32) (result i32)
    (local i64 i64 i64 i64 i32 i32 i32 i32 f64 f64 i64 i64 i64 i64 i32)
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
    i64.load offset=32 align=1
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
        i64.const 4101
        local.set 11
        local.get 14
        i64.const -8
        i64.add
        local.tee 12
        local.set 13
        local.get 13
        i32.wrap_i64
        local.tee 15
        i32.const 8
        i32.shr_u
        local.get 15
        i32.const 18
        i32.shr_u
        i32.xor
        i32.const 524272
        i32.and
        local.get 0
        i32.add
        local.tee 15
        i64.load offset=589824 align=1
        local.get 13
        i64.const 7
        i64.add
        i64.const -4096
        i64.and
        i64.eq
        if  ;; label = @3
          local.get 13
          i32.wrap_i64
          local.get 15
          i32.load offset=589832 align=1
          i32.add
          local.get 11
          i64.store align=1
        else
          i32.const 2
          i32.const 520
          local.get 0
          local.get 13
          local.get 11
          i64.const 0
          call 0
          i32.wrap_i64
          local.tee 15
          if  ;; label = @4
            local.get 15
            i32.const 2
            i32.add
            local.set 5
            br 3 (;@1;)
          end
          local.get 10
          local.get 0
          f64.load offset=1032 align=1
          f64.min
          local.set 10
        end
        local.get 12
        local.set 14
        local.get 9
        f64.const 0x1p-2 (;=0.25;)
        f64.add
        local.set 9
        local.get 7
        i32.const 1
        i32.add
        local.set 7
        i64.const 4101
        local.set 1
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
    local.get 14
    i64.store offset=32 align=1
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
