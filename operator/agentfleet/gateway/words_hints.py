"""Weaker words of the intents in words.py. Data.

None of them tells an intent alone as surely as a keyword does, so they are counted: where no keyword is found, the
intent with the most of them has it, if it has more than any other.
"""

from collections.abc import Mapping


def listed(text: str) -> tuple[str, ...]:
    """Words and phrases that commas part."""
    return tuple(filter(None, (each.strip() for each in text.split(","))))


HINTS: Mapping[str, tuple[str, ...]] = {
    "documentation": listed("""
        short text for, text for the intranet, a page on, a page that, web page for, describe the, table for,
        write down, tidy up, explain each, for new, for colleagues, announcement, how-to article, write up,
        cheat sheet, checklist, faq, template, chapter, paragraph, glossary, describe how, step by step, article,
        wiki, leaflet, brochure, comment, explained for, so that anyone, new starters, new staff, beginners,
        command line flags, 文章, 步骤, 整理成, 一页, 模板, 清单, 说明, 规范, 维基, langkah, helaian,
        senarai semak, nota, halaman, templat, langkah-langkah, catatan, prosedur, página, pasos, plantilla,
        seite, schritte, vorlage, merkblatt, leitfaden, étapes, modèle, fiche, 手順, ページ, 資料, पृष्ठ, चरण,
        பக்கம், ขั้นตอน, các bước
    """),
    "scheduling": listed("""
        book a, book an, book me, in the morning, this morning, weekend, calendar week, can make it,
        half an hour later, am i free, i'm free, he's free, callback, in the evening, on monday, move to, monday,
        tuesday, wednesday, thursday, friday, saturday, sunday, tomorrow, tonight, noon, next week, this week,
        next month, afternoon, half past, quarter to, quarter past, wake me, reserve, free at, are free,
        are you free, move it, push it back, bring forward, dentist, doctor, haircut, deadline, shift, every day,
        every week, what have i got, when can, come round, pick me up, block out, 周一, 周二, 周三, 周四, 周五,
        周六, 周日, 星期, 明天, 后天, 下周, 上午, 下午, 晚上, 几点, 有空, 时间, isnin, selasa, rabu, khamis,
        jumaat, sabtu, ahad, esok, lusa, minggu depan, pagi, petang, pukul, jam, besok, senin, kamis, jumat,
        siang, sore, minggu, doktor gigi, jumpa doktor, lunes, martes, miércoles, jueves, viernes, sábado,
        domingo, mañana, montag, dienstag, mittwoch, donnerstag, freitag, samstag, sonntag, morgen, uhr, lundi,
        mardi, mercredi, jeudi, vendredi, samedi, demain, heures, amanhã, segunda-feira, 月曜, 火曜, 水曜, 木曜,
        金曜, 明日, 来週, 午前, 午後, 時に, कल, बजे, सोमवार, सुबह, शाम, நாளை, மணி, พรุ่งนี้, ngày mai
    """),
    "code": listed("""
        rows, component, class, port of, default port, operator, decorator, data type, generic, iterator,
        migration, in c, in java, in go, in rust, in swift, entry, delete inside, return value, package.json,
        array, loop, pointer, memory, thread, async, mutex, linked list, binary tree, hash map, stack overflow,
        null, boolean, integer, library, framework, commit, merge conflict, repository, repo, terraform, yaml,
        ansible, node.js, npm, pip, swift, kotlin, ruby, perl, haskell, backslash, syntax, parse, parser, query,
        endpoint, module, monolith, microservice, backend, frontend, callback function, import, in place,
        test case, lint, linter, build fails, pipeline, runtime, complexity of, big o, 数组, 循环, 变量, 线程,
        接口, 单例, 报错, 实现一个, 数据库, 前端, 后端, 编译, tatasusunan, pemboleh ubah, kelas, larik, variabel,
        basis data, bucle, clase, matriz, arreglo, schleife, klasse, variable, abfrage, boucle, classe, tableau,
        requête, 配列, ループ, クラス, 変数, लूप, क्लास, ஃபங்ஷன், ตัวแปร, vòng lặp, mảng
    """),
    "analysis": listed("""
        客流, 比去年, 为什么, 哪个更, menguntungkan, mana yang lebih, rechnet sich, lohnt, rentable,
        vale la pena, lebih baik, table of, more expensive, live longer, bids, cautious, argue which,
        differences between, how much more, over the last, last five years, last ten years, by region, by hour,
        compared with, compared to, likely, cheapest, margin, per capita, pays off, profitable, correlate,
        does it matter, rank, data, dataset, report, percent, rates, growth, decline, impact, difference, differ,
        versus, risks, assumptions, verdict, weigh, conclude, would it pay, worth it, insight, pattern,
        odd about, outliers, readings, fell, rose, drop in, increase in, sales, revenue, turnover, costs,
        economy, what do we know, sources, evidence, argument, driver of, estimate, project the, 影响, 数据,
        原因, 差异, 增长, 下降, 结论, 区别, 效率, 成本, 可行性, pengaruh, punca, perbezaan, perbedaan, jualan,
        penjualan, turun, naik, sebab, laporan, datos, causas, diferencia, ventas, tendencia, ursachen, daten,
        unterschied, umsatz, folgen, données, causes, différence, ventes, tendance, データ, 影響, 売上, 違い,
        आंकड़े, असर, தரவு, ข้อมูล, dữ liệu, nguyên nhân
    """),
    "technical-support": listed("""
        键盘, 按不出来, 闪屏, 投影仪, 浏览器, rechner, schaltet sich, souris, ne répond, clavier, ratón, teclado,
        tastatur, maus, pelayar, tertutup, papan kekunci, laman web, putus, लैपटॉप, चालू नहीं, बंद हो, firefox,
        chrome, windows, android, iphone, ipad, macbook, muted, temperature, temperatures, oven, refuses, rings,
        drops, loads, wrong letters, slow, headphones, battery, screen, monitor, mouse not, certificate,
        refreshed, wired, wireless, disk, not detected, reinstall, update, fan, tv, sound, phone, camera, email,
        mail, outbox, inbox, sync, app, computer, pc, device, cable, charger, charge, usb, speaker, microphone,
        webcam, projector, sim, mobile data, signal, hotspot, website, page won't load, browser, video call,
        calls drop, stuck, hangs, hang, fails, failed, broken, blank, flickers, beeps, overheats, stopped,
        doors stay, no longer, won't, doesn't work, does not work, isn't working, keeps, since the update, ssh,
        timeout, times out, account is locked, permission denied, access denied, display, heater, boiler,
        thermostat, dishwasher, fridge, unresponsive, setting, settings, switch off, plug, 手机, 电视, 声音,
        相机, 闪退, 缓存, 充电, 卡顿, 坏了, 故障, 没反应, 耳机, 电脑, 软件, 更新, 登录, telefon, bunyi, kamera,
        kabur, baiki, cara nak baiki, tersekat, peranti, tiada, ponsel, suara, hp, layar, baterai, móvil, sonido,
        batería, cargador, se apaga, tele, handy, lädt nicht, ton, akku, kabel, gerät, téléphone, son, batterie,
        ordinateur, bloqué, telefone, tela, スマホ, 音, テレビ, 充電, 画面, कैमरा, मोबाइल, स्क्रीन, चार्ज,
        தொலைக்காட்சி, மொபைல், โทรศัพท์, điện thoại, màn hình
    """),
    "customer-service": listed("""
        pagar a plazos, a plazos, gutschein, ratenzahlung, facturé, facturado, payer en, cobraron, resit,
        tanggung, 订金, 账户扣, 注销, 会员卡, 赔偿, 差评, ganti rugi, pampasan, bayaran, langganan, your shop,
        your store, your driver, promised, warranty, ticket, package, statement, delivered, sold out,
        change my name, change the name, close my account, delete my account, took, in writing, confirmation,
        deal, pay, paid, price, bill, fee, charge, bought, buy, purchase, size, address, shop, store,
        waiting on hold, your company, your website, your staff, you sent, sent me, wrong one, instalments,
        installments, late fee, plan, contract, tariff, arrived, came yesterday, take it back, send it back,
        return it, damaged, missing, tracking, collect, opening hours, unhappy, disappointed, apology,
        compensation, cancel, renew, membership, sofa, jacket, shoes, hotel, flight, reservation, overcharged,
        deposit, 买, 卖家, 店家, 平台, 价格, 付款, 扣款, 多收, 地址, 换, 收到, 尺码, 会员, 保修, 电话是多少,
        duit, harga, beli, dibeli, kedai, alamat, saiz, ditolak, caj, uang, toko, ukuran, membeli, paquete,
        precio, comprado, tienda, dirección, cuenta, preis, gekauft, adresse, laden, prix, acheté, magasin,
        preço, comprei, 購入, 値段, 住所, サイズ, 届いた, पैसा, पार्सल, कीमत, पता, खरीदा, விலை, முகவரி, ราคา,
        ที่อยู่, giá, mua
    """),
}
"""Intent → words that hint at it."""
